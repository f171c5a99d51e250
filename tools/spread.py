#!/usr/bin/env python3
"""Mean and standard deviation of the numbers that an evaluation tool wrote for several seeds.

    python tools/spread.py FILE FILE [FILE ..]

Files are those of --json, of the same tool and the same shape. Every number is printed under its path, as
mean and standard deviation over the files (of a sample, divided by one less than the files).
"""

import argparse
import json
import statistics
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", help="numbers of one seed each")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    arguments = parser.parse_args()
    if len(arguments.files) < 2:
        parser.error("one file has no spread; name two or more")
    result = spread([json.loads(path.read_text(encoding="utf-8")) for path in arguments.files])
    for path, row in rows(result):
        print(f"{path:48}{row['mean']:12.4f} ({row['deviation']:.4f})")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def spread(results: list):
    """Results of the same shape as one with {mean, deviation} in place of each number; what is no number is left out."""
    first = results[0]
    if isinstance(first, dict):
        if any(result.keys() != first.keys() for result in results):
            raise SystemExit("the files have different keys; they must be of one tool, run with the same options")
        spreads = {key: spread([result[key] for result in results]) for key in first}
        return {key: value for key, value in spreads.items() if value is not None}
    if isinstance(first, (int, float)):
        return {"mean": statistics.fmean(results), "deviation": statistics.stdev(results)}
    return None


def rows(result: dict, path: str = ""):
    """The rows {mean, deviation} of a spread with the path to each."""
    if result.keys() == {"mean", "deviation"}:
        yield path, result
        return
    for key, value in result.items():
        yield from rows(value, f"{path}.{key}" if path else key)


if __name__ == "__main__":
    main()
