#!/usr/bin/env python3
"""Whether texts generated for a kind of food name that kind and no other (E2E).

    python tools/evaluate_labels.py --generated FILE

The file is .jsonl or .csv, also .gz, with `text` and `label`. Case does not matter. A place nearby
called "Raja Indian Cuisine" is taken out of the text first. A text labelled `unspecified` is right
if it names no kind of food; such texts are counted apart.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

from foods import FOODS, UNSPECIFIED, foods_named
from texts import read_records, share

def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generated", type=Path, required=True, help="texts with labels")
    parser.add_argument("--text-column", default="text", help="column or field of the text (default: text)")
    parser.add_argument("--label-column", default="label", help="column or field of the label (default: label)")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print the first N texts that are wrong")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    arguments = parser.parse_args()
    records = read_records(arguments.generated, arguments.text_column)
    counts, wrong = count(records, arguments.label_column)

    result = {label: counts[label] for label in [*FOODS, UNSPECIFIED] if label in counts}
    foods = [row for label, row in result.items() if label != UNSPECIFIED]
    if foods:
        result["all foods"] = {key: sum(row[key] for row in foods) for key in foods[0]}
    print(f"{'label':14}{'texts':>8}{'right':>10}{'own named':>12}{'other named':>13}")
    for label, row in result.items():
        row["share_right"] = share(row["right"], row["texts"])
        own, other = (share(row[key], row["texts"]) for key in ("own_named", "other_named"))
        print(f"{label:14}{row['texts']:8d}{row['share_right']:10.2%}{own:12.2%}{other:13.2%}")
    for label, text in wrong[: arguments.show]:
        print(f"{label}: {text}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def count(records: list[dict], label_column: str) -> tuple[dict, list[tuple[str, str]]]:
    counts: dict[str, dict[str, int]] = defaultdict(lambda: {"texts": 0, "right": 0, "own_named": 0, "other_named": 0})
    wrong = []
    for number, record in enumerate(records, start=1):
        label = record.get(label_column)
        if label not in FOODS and label != UNSPECIFIED:
            raise SystemExit(f"record {number}: label {label!r}; known are {', '.join([*FOODS, UNSPECIFIED])}")
        named = foods_named(record["text"])
        wanted = set() if label == UNSPECIFIED else {label}
        row = counts[label]
        row["texts"] += 1
        row["right"] += named == wanted
        row["own_named"] += label in named
        row["other_named"] += bool(named - wanted)
        if named != wanted:
            wrong.append((label, record["text"]))
    return counts, wrong


if __name__ == "__main__":
    main()
