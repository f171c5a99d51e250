"""The side of transformers: does the tasks that it reads as lines of JSON, and answers each with one
line of JSON when it is done."""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSeq2SeqLM, GenerationConfig
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import logging


class Worker:
    def __init__(self, folder: Path, inputs: Path, threads: int):
        torch.set_num_threads(threads)
        logging.disable_progress_bar()
        logging.set_verbosity_error()
        self.folder = folder
        self.inputs = load_file(inputs)

    def load(self) -> None:
        self.model = AutoModelForSeq2SeqLM.from_pretrained(self.folder, dtype=torch.float32).eval()

    def encode(self) -> None:
        self.states = self.model.get_encoder()(self.inputs["ids"]).last_hidden_state

    def generate(self, texts: int, config: dict) -> list[list[int]]:
        own = self.model.generation_config.to_diff_dict()
        ids = self.model.generate(
            encoder_outputs=BaseModelOutput(self.states[:texts]),
            attention_mask=torch.ones(self.states.shape[:2], dtype=torch.int64)[:texts],
            generation_config=GenerationConfig(**(own | config)),
        )
        end = self.model.generation_config.eos_token_id
        texts = (row[1:] for row in ids.tolist())
        return [text[: text.index(end)] if end in text else text for text in texts]

    def outputs(self, file: str) -> None:
        output = self.model(
            input_ids=self.inputs["padded_ids"],
            attention_mask=self.inputs["mask"],
            decoder_input_ids=self.inputs["decoder_ids"],
        )
        states = output.encoder_last_hidden_state
        save_file({"states": states.contiguous(), "logits": output.logits.contiguous()}, file)


def main() -> None:
    folder, inputs, threads = sys.argv[1:]
    worker = Worker(Path(folder), Path(inputs), int(threads))
    for line in sys.stdin:
        task = json.loads(line)
        with torch.inference_mode():
            ids = getattr(worker, task.pop("task"))(**task)
        print(json.dumps({"ids": ids or []}), flush=True)


if __name__ == "__main__":
    main()
