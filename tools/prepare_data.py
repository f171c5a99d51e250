#!/usr/bin/env python3
"""Makes the committed data sets of `data/` out of the corpora as they are published.

    python3 tools/prepare_data.py SOURCE OUTPUT

SOURCE holds one folder per corpus (`e2e`, `fairytales`, `dbpedia`, `scitldr`, `tatoeba-en-de`);
OUTPUT receives `<corpus>/<split>.jsonl.gz`. Only Python's standard library is used, and the
uncompressed lines depend on nothing but the source files; the gzip headers carry no time, so
the same zlib writes the same bytes.

What is changed in the texts, and nothing else, is listed in `data/README.md`.
"""

import argparse
import csv
import gzip
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from foods import UNSPECIFIED, foods_named
from meanings import without_missing

# Names of the 14 classes that the DBpedia classification set gives as numbers.
DBPEDIA_CLASSES = [
    "Company",
    "EducationalInstitution",
    "Artist",
    "Athlete",
    "OfficeHolder",
    "MeanOfTransportation",
    "Building",
    "NaturalPlace",
    "Village",
    "Animal",
    "Plant",
    "Album",
    "Film",
    "WrittenWork",
]

E2E_SPLITS = {"train": "trainset", "valid": "devset", "test": "testset_w_refs"}

LIGATURES = str.maketrans({"\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl"})
INVISIBLE = re.compile("[\u00ad\u200b\u200c\u200d\u2060\ufeff]|(?!\\s)[\\x00-\\x1f\\x7f]")
SPACE_BEFORE = re.compile(r" +([.,;:!?%)\]]|n't\b|'(?:s|re|ve|ll|d|m)\b)")
SPACE_AFTER = re.compile(r"([(\[]) +")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder with one folder per corpus")
    parser.add_argument("output", type=Path, help="folder to write `<corpus>/<split>.jsonl.gz` into")
    arguments = parser.parse_args()
    for name, records in all_sets(arguments.source):
        path = arguments.output / f"{name}.jsonl.gz"
        lines = write_jsonl(path, records)
        print(f"{path}: {lines} lines, {path.stat().st_size:,} bytes", file=sys.stderr)


def all_sets(source: Path) -> Iterator[tuple[str, Iterable[dict]]]:
    for split, file in E2E_SPLITS.items():
        yield f"e2e/{split}", e2e(source / "e2e" / f"{file}.csv.gz")
    for split in ("train", "valid"):
        yield f"e2e/{split}-faithful", e2e_faithful(source / "e2e" / f"{E2E_SPLITS[split]}.csv.gz")
    yield "fairytales/train", fairytales(source / "fairytales" / "train.jsonl.gz")
    yield "dbpedia/train", dbpedia(source / "dbpedia" / "train.jsonl.gz")
    yield "scitldr/train", scitldr(source / "scitldr" / "train.jsonl.gz")
    yield "tatoeba/train", tatoeba(source / "tatoeba-en-de" / "train.jsonl.gz")


def e2e(path: Path) -> Iterator[dict]:
    """Text, the meaning representation, its `food` value as the label, and that value as `food` where
    the text really names it and no other: about a sixth of the texts leave the food out."""
    with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file, strict=True):
            food = re.search(r"\bfood\[([^\]]*)\]", row["mr"])
            label = food.group(1) if food else UNSPECIFIED
            text = one_line(row["ref"])
            named = label if foods_named(text) == {label} else UNSPECIFIED
            yield {"text": text, "label": label, "food": named, "mr": row["mr"]}


def e2e_faithful(path: Path) -> Iterator[dict]:
    """Texts under meanings that they really express: slots that a text leaves out are taken from its
    meaning, texts that contradict their meaning or add to it are left out."""
    with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file, strict=True):
            text = one_line(row["ref"])
            meaning = without_missing(one_line(row["mr"]), text)
            if meaning is not None:
                yield {"text": text, "mr": meaning}


def fairytales(path: Path) -> Iterator[dict]:
    for row in read_jsonl(path):
        yield {"text": clean(row["text"]), "document": row["document"]}


def dbpedia(path: Path) -> Iterator[dict]:
    for row in read_jsonl(path):
        text = close_up_punctuation(clean(row["text"]))
        yield {"text": text, "label": DBPEDIA_CLASSES[int(row["label"])]}


def scitldr(path: Path) -> Iterator[dict]:
    """Abstracts and their one-line summaries, each a text of its own; repeated ones once."""
    texts = ((row[key], kind) for row in read_jsonl(path) for key, kind in (("source", "abstract"), ("text", "summary")))
    for text, kind in distinct((clean(text), kind) for text, kind in texts):
        yield {"text": text, "kind": kind}


def tatoeba(path: Path) -> Iterator[dict]:
    """The English side only; a sentence with several translations stands once."""
    for (text,) in distinct((clean(row["source"]),) for row in read_jsonl(path)):
        yield {"text": text}


def distinct(keyed: Iterable[tuple]) -> Iterator[tuple]:
    """The items whose first field has not been seen before, in order."""
    seen = set()
    for item in keyed:
        if item[0] not in seen:
            seen.add(item[0])
            yield item


def one_line(text: str) -> str:
    """Runs of white space become one space; none at the ends."""
    return " ".join(text.split())


def clean(text: str) -> str:
    """One line, typographic ligatures spelt out, characters without a glyph removed."""
    return one_line(INVISIBLE.sub("", text).translate(LIGATURES))


def close_up_punctuation(text: str) -> str:
    """Takes back the spaces that tokenisation left round punctuation."""
    return SPACE_AFTER.sub(r"\1", SPACE_BEFORE.sub(r"\1", text))


def read_jsonl(path: Path) -> Iterator[dict]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def write_jsonl(path: Path, records: Iterable[dict]) -> int:
    """Writes one object a line; the same records always give the same bytes."""
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".tmp")
    with open(part, "wb") as raw, gzip.GzipFile("", "wb", compresslevel=9, fileobj=raw, mtime=0) as packed:
        with io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as file:
            file.writelines(line + "\n" for line in lines)
    part.replace(path)
    return len(lines)


if __name__ == "__main__":
    main()
