#!/usr/bin/env python3
"""Slot error rate and BLEU of texts generated for meaning representations (E2E).

    python tools/evaluate_data_to_text.py --generated FILE [--references data/e2e/test.jsonl.gz]

FILE is .jsonl or .csv, also .gz, with `text` and `source`, the meaning representation. All texts of a
source are its candidates, in the order of the file: `generate --count` with a multiple of the number of
sources writes them so. A list `candidates` of a record takes the place of its `text`.

* slot error rate: slots that are missing, wrong or added, over all slots of the meanings;
* perfect: the share of texts without such an error;
* BLEU: sacrebleu, every text against all references of its meaning.

Rows: `given` is each source's `text` as it is; and if there are several candidates, `random` is the
first, `coverage` the one that contains most of the source's words (`generate --choose coverage`), `MBR` the
one most like the others by ROUGE-2, `oracle` the best by the measure in question, which needs the truth.

With `--write-meanings`, the distinct meanings of the references are written to a file, one a line, for
`generate --sources`. With `--human`, the reference texts themselves are judged: slot errors of all of them, and BLEU of each
meaning's first text against its others. It says how far the patterns and the data can be trusted.
"""

import argparse
import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import sacrebleu

from meanings import SLOTS, SlotErrors, parse_meaning, slot_errors
from texts import one_line, read_records, share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--generated", type=Path, help="texts with their sources")
    what.add_argument("--write-meanings", type=Path, metavar="FILE", help="write the meanings to this file")
    what.add_argument("--human", action="store_true", help="judge the references")
    parser.add_argument("--references", type=Path, default=Path("data/e2e/test.jsonl.gz"), help="real texts with `mr`")
    parser.add_argument("--source-column", default="source", help="column or field of the source (default: source)")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print the first N texts with slot errors")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    arguments = parser.parse_args()

    references = by_meaning(read_records(arguments.references), "mr")
    if arguments.write_meanings:
        arguments.write_meanings.write_text("".join(f"{meaning}\n" for meaning in references), encoding="utf-8")
        return
    if arguments.human:
        result = human(references, arguments.show)
    else:
        records = read_records(arguments.generated)
        result = generated(records, arguments.source_column, references, arguments.show)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def by_meaning(records: list[dict], column: str) -> dict[str, list[str]]:
    """The texts of each meaning, in their order; white space in meanings does not matter."""
    texts = defaultdict(list)
    for number, record in enumerate(records, start=1):
        if not isinstance(record.get(column), str):
            raise SystemExit(f"record {number} has no meaning in {column!r}; it has {', '.join(record)}")
        texts[one_line(record[column])].extend(record.get("candidates") or [record["text"]])
    return texts


def generated(records: list[dict], column: str, references: dict[str, list[str]], show: int) -> dict:
    candidates = by_meaning(records, column)
    unknown = [meaning for meaning in candidates if meaning not in references]
    if unknown:
        raise SystemExit(f"no reference has the meaning {unknown[0]!r} ({len(unknown)} such); wrong --references?")
    given = {}
    for record in records:
        given.setdefault(one_line(record[column]), record["text"])
    least = min(len(texts) for texts in candidates.values())
    print(f"{len(candidates)} meanings of {len(references)}, {sum(map(len, candidates.values()))} candidates")
    print(f"{'':10}{'slot errors':>12}{'missing':>10}{'wrong':>10}{'added':>10}{'perfect':>10}{'BLEU':>8}")

    errors = {m: [judged(m, text) for text in texts] for m, texts in candidates.items()}
    rows = {"given": (given, given)}
    if least > 1:
        rows["random"] = 2 * ({m: texts[0] for m, texts in candidates.items()},)
        rows["coverage"] = 2 * ({m: texts[most_covered(m, texts)] for m, texts in candidates.items()},)
        rows["MBR"] = 2 * ({m: texts[least_risk(texts)] for m, texts in candidates.items()},)
        fewest = {m: min(range(len(found)), key=lambda i: found[i].count()) for m, found in errors.items()}
        rows["oracle"] = (
            {m: candidates[m][index] for m, index in fewest.items()},
            {m: max(texts, key=lambda text: sentence_bleu(text, references[m])) for m, texts in candidates.items()},
        )
    result = {"meanings": len(candidates), "candidates": least}
    for name, (for_slots, for_bleu) in rows.items():
        result[name] = measured([judged(m, text) for m, text in for_slots.items()])
        result[name]["bleu"] = bleu(for_bleu, references)
        print_row(name, result[name])
    shown = [(m, text) for m, text in given.items() if judged(m, text).count()]
    print_errors(shown[:show])
    return result


def human(references: dict[str, list[str]], show: int) -> dict:
    pairs = [(meaning, text) for meaning, texts in references.items() for text in texts]
    several = {meaning: texts for meaning, texts in references.items() if len(texts) > 1}
    print(f"{len(references)} meanings, {len(pairs)} texts")
    print(f"{'':10}{'slot errors':>12}{'missing':>10}{'wrong':>10}{'added':>10}{'perfect':>10}{'BLEU':>8}")
    result = {"meanings": len(references), "human": measured([judged(m, text) for m, text in pairs])}
    firsts = {meaning: texts[0] for meaning, texts in several.items()}
    result["human"]["bleu"] = bleu(firsts, {meaning: texts[1:] for meaning, texts in several.items()})
    print_row("human", result["human"])
    for slot, row in result["human"]["by_slot"].items():
        print(f"  {slot:18}{row['missing']:7d} missing {row['wrong']:6d} wrong {row['added']:6d} added")
    print_errors([(m, text) for m, text in pairs if judged(m, text).count()][:show])
    return result


def most_covered(meaning: str, texts: list[str]) -> int:
    """The first candidate that contains most of the meaning's different words, as `--choose coverage`."""
    said = words(meaning)
    return max(range(len(texts)), key=lambda i: len(said & words(texts[i])))


def words(text: str) -> set[str]:
    return set(re.findall(r"[^\W_]+", text.lower()))


def judged(meaning: str, text: str) -> SlotErrors:
    try:
        return slot_errors(parse_meaning(meaning), text)
    except ValueError as error:
        raise SystemExit(str(error)) from None


def measured(errors: list[SlotErrors]) -> dict:
    slots = sum(found.slots for found in errors)
    kinds = {kind: Counter(slot for found in errors for slot in getattr(found, kind)) for kind in ("missing", "wrong", "added")}
    return {
        "texts": len(errors),
        "slot_error_rate": share(sum(found.count() for found in errors), slots),
        **{kind: share(counts.total(), slots) for kind, counts in kinds.items()},
        "perfect": share(sum(found.count() == 0 for found in errors), len(errors)),
        "by_slot": {slot: {kind: counts[slot] for kind, counts in kinds.items()} for slot in SLOTS},
    }


def print_row(name: str, row: dict) -> None:
    shares = "".join(f"{row[key]:10.2%}" for key in ("missing", "wrong", "added", "perfect"))
    print(f"{name:10}{row['slot_error_rate']:12.2%}{shares}{row['bleu']:8.2f}")


def print_errors(pairs: list[tuple[str, str]]) -> None:
    for meaning, text in pairs:
        found = judged(meaning, text)
        kinds = [f"{kind} {', '.join(getattr(found, kind))}" for kind in ("missing", "wrong", "added") if getattr(found, kind)]
        print(f"{meaning}\n    {text}\n    {'; '.join(kinds)}")


def bleu(texts: dict[str, str], references: dict[str, list[str]]) -> float:
    """Corpus BLEU with as many references for each text as there are."""
    most = max(len(references[meaning]) for meaning in texts)
    streams = [
        [references[m][place] if place < len(references[m]) else None for m in texts] for place in range(most)
    ]
    return sacrebleu.corpus_bleu(list(texts.values()), streams).score


def sentence_bleu(text: str, references: list[str]) -> float:
    return sacrebleu.sentence_bleu(text, references).score


def least_risk(texts: list[str]) -> int:
    """The candidate with the highest sum of ROUGE-2 F against all others; of equals the first."""
    bigrams = [rouge_bigrams(text) for text in texts]
    sums = [sum(f_measure(own, other) for j, other in enumerate(bigrams) if j != i) for i, own in enumerate(bigrams)]
    return sums.index(max(sums))


def rouge_bigrams(text: str) -> Counter:
    words = re.findall(r"[a-z0-9]+", text.lower())
    return Counter(zip(words, words[1:]))


def f_measure(a: Counter, b: Counter) -> float:
    return 2 * share((a & b).total(), a.total() + b.total())


if __name__ == "__main__":
    main()
