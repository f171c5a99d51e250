#!/usr/bin/env python3
"""The speed of this crate beside PyTorch's, as a table in Markdown.

    python tools/performance.py PYTORCH.json OURS.json

The first file is of the PyTorch bench on the same shapes, the second one of `bench-gpu` (--json), both run on the
same machine one after the other. For each work the table has the best of PyTorch's ways, ours, and ours divided by
PyTorch's: below 1 we are faster, or need less memory. The table is printed, and nothing else is.
"""

import argparse
import json
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Work:
    """Rows of both programs for the same work; groups of the patterns, such as the batch, must agree."""

    title: str
    pytorch: str
    ours: str
    unit: str = "ms"


# What PyTorch computes with bf16 weights or in bf16 autocast.
BF16 = r"(?P<way>.*bf16.*)"
WORKS = [
    Work("denoiser forward, bf16, batch {batch}", rf"denoiser forward {BF16} b(?P<batch>\d+)", r"denoiser forward bf16 b(?P<batch>\d+)(?: as a graph)?"),
    Work("denoiser forward, TF32, batch {batch}", r"denoiser forward (?P<way>.*f32.*) b(?P<batch>\d+)", r"denoiser forward tf32 b(?P<batch>\d+)(?: as a graph)?"),
    Work(
        "train step without self-conditioning, batch {batch}",
        rf"train step {BF16} b(?P<batch>\d+) \(no self-cond pass\)",
        r"train step bf16 b(?P<batch>\d+) \(no self-cond pass\)",
    ),
    Work(
        "train step with self-conditioning, batch {batch}",
        rf"train step {BF16} b(?P<batch>\d+) \(with self-cond pass\)",
        r"train step bf16 b(?P<batch>\d+) \(with self-cond pass\)",
    ),
    Work(
        "train step, p = 0.5, batch {batch}",
        rf"train step {BF16} b(?P<batch>\d+) \(mean of the two: p=0.5\)",
        r"train step bf16 b(?P<batch>\d+) \(mean of the two: p=0.5\)",
    ),
    Work("running average of the parameters", r"EMA update \((?P<way>.*)\)", r"EMA update"),
    Work(
        "memory of training, batch {batch}",
        r"(?P<way>peak) GPU memory after b(?P<batch>\d+) training",
        r"peak GPU memory after b(?P<batch>\d+) training",
        "GiB",
    ),
    Work(
        "sampling, {steps} steps, batch {batch}",
        rf"sampling (?P<steps>\d+) steps {BF16} b(?P<batch>\d+)",
        r"sampling (?P<steps>\d+) steps bf16 b(?P<batch>\d+)(?: as a graph)?",
    ),
    Work(
        "BART-base greedy, bf16, {tokens} tokens, batch {batch}",
        rf"BART greedy {BF16} b(?P<batch>\d+) L(?P<tokens>\d+)",
        r"BART greedy bf16 b(?P<batch>\d+) L(?P<tokens>\d+)",
    ),
    Work(
        "BART-base greedy, TF32, {tokens} tokens, batch {batch}",
        r"BART greedy (?P<way>.*f32.*) b(?P<batch>\d+) L(?P<tokens>\d+)",
        r"BART greedy tf32 b(?P<batch>\d+) L(?P<tokens>\d+)",
    ),
    Work(
        "BART-base beam 4, {tokens} tokens, batch {batch}",
        r"BART beam-4 (?P<way>.*) b(?P<batch>\d+) L(?P<tokens>\d+)",
        r"BART beam-4 bf16 b(?P<batch>\d+) L(?P<tokens>\d+)",
    ),
    Work(
        "end to end, sampling and greedy decoding",
        r"texts: sample \((?P<way>.*)\) \+ greedy decode .*",
        r"texts: sample \+ greedy decode bf16",
    ),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pytorch", type=Path, help="numbers of the PyTorch bench")
    parser.add_argument("ours", type=Path, help="numbers of bench-gpu")
    arguments = parser.parse_args()
    print(table(*(json.loads(path.read_text(encoding="utf-8"))["rows"] for path in (arguments.pytorch, arguments.ours))))


def table(pytorch: list, ours: list) -> str:
    """The rows of both programs joined into a table; works that neither has are left out."""
    lines = ["| work | PyTorch, best | by | ours | ours / PyTorch |", "|---|---|---|---|---|"]
    for work in WORKS:
        theirs, own = best(work.pytorch, work.unit, pytorch), best(work.ours, work.unit, ours)
        for shape in sorted(theirs.keys() | own.keys(), key=sizes):
            their, way = theirs.get(shape, (None, "-"))
            mine, _ = own.get(shape, (None, None))
            ratio = f"{mine / their:.2f}" if mine is not None and their else "-"
            title = work.title.format(**dict(shape))
            lines.append(f"| {title} | {shown(their, work.unit)} | {way} | {shown(mine, work.unit)} | {ratio} |")
    return "\n".join(lines)


def best(pattern: str, unit: str, rows: list) -> dict:
    """By shape the least value of the rows of that name, and the way that it was reached in."""
    found = {}
    for row in rows:
        match = re.fullmatch(pattern, row["name"])
        value = measured(row, unit)
        if match is None or value is None:
            continue
        groups = match.groupdict()
        way = groups.pop("way", "")
        shape = tuple(sorted(groups.items()))
        if shape not in found or value < found[shape][0]:
            found[shape] = (value, way)
    return found


def measured(row: dict, unit: str):
    """A row's time; its memory stands at the beginning of the note."""
    if unit == "ms":
        return row["ms"]
    number = re.match(r"([\d.]+) GiB", row["note"])
    return float(number[1]) if number else None


def sizes(shape: tuple) -> list:
    return [int(size) for _, size in shape]


def shown(value, unit: str) -> str:
    if value is None:
        return "-"
    digits = 2 if unit == "GiB" or value < 100 else 0
    return f"{value:,.{digits}f} {unit}"


if __name__ == "__main__":
    main()
