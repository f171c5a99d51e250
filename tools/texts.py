"""Reading of text files for the evaluation tools."""

import csv
import gzip
import json
import re
from pathlib import Path


def read_records(path: Path, text_column: str = "text") -> list[dict]:
    """Records with at least `text`, from .jsonl, .csv or .txt (one text a line), each also .gz.

    White space is collapsed to single spaces. Empty texts are kept, since a model may write them
    and two files may run side by side.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes[-1:] == [".gz"]
    kind = suffixes[-2:-1] if packed else suffixes[-1:]
    open_text = gzip.open if packed else open
    with open_text(path, "rt", encoding="utf-8-sig", newline="" if kind == [".csv"] else None) as file:
        if kind == [".jsonl"]:
            rows = [json.loads(line) for line in file if line.strip()]
        elif kind == [".csv"]:
            rows = list(csv.DictReader(file, strict=True))
        elif kind == [".txt"]:
            rows = [{text_column: line} for line in file.read().splitlines()]
        else:
            raise SystemExit(f"{path}: the name must end in .jsonl, .csv or .txt, with or without .gz")
    if not rows:
        raise SystemExit(f"{path}: the file has no texts")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row.get(text_column), str):
            raise SystemExit(f"{path}: record {number} has no text in {text_column!r}; it has {', '.join(row)}")
    return [{**row, "text": one_line(row[text_column])} for row in rows]


def read_texts(path: Path, text_column: str = "text") -> list[str]:
    return [record["text"] for record in read_records(path, text_column)]


def one_line(text: str) -> str:
    return " ".join(text.split())


def words(text: str) -> list[str]:
    """Words and single punctuation marks; case is kept."""
    return re.findall(r"\w+|[^\w\s]", text)


def ngrams(texts: list[str], n: int) -> list[tuple[str, ...]]:
    """The n-grams of all texts, with repeats; none reaches from one text into the next."""
    tokens = [words(text) for text in texts]
    return [tuple(t[i : i + n]) for t in tokens for i in range(len(t) - n + 1)]


def share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
