#!/usr/bin/env python3
"""How near generated paraphrases are to people's, how much of the source they copy, and how they differ.

    python tools/evaluate_paraphrases.py --references FILE [--generated FILE]

Both files are .jsonl or .csv, also .gz, with `source` and `text`; records of the generated file may
hold a list `candidates`, as `generate --format jsonl --candidates 5 --with-candidates` writes them.

A source may stand in the references several times. The first generated record of a source is held
against the first reference of it, the second against the second, and so on: take the references' own
sources as input, a line for each record (`--write-sources`). A record without a reference is an error;
references without a record are left out.

  ROUGE-1, -2, -L   F measure of rouge-score, from 0 to 100, mean over the texts; the second line of a
                    row is with stemming
  BLEU              sacrebleu, of all texts together, against their references
  to source         mean sentence BLEU of a text against its source: 100 is a copy
                    (`people` below the table: the references against their sources)
  copies            share of the texts that are their source, but for case
  among             self-BLEU: mean sentence BLEU of a candidate against the other candidates of its
                    source; the lower, the more diverse

Rows: `given` is each record's `text`; `random` the first candidate; `MBR` the one most like the others
by ROUGE-2, of equals the first, which is the model's own choice too; `oracle` the best candidate by the
measure in question, each on its own (BLEU by sentence), which needs the truth.
Controls: `source` is the source as its own paraphrase, `shuffled` the given texts (without --generated,
the references) in random order, and `human` the references of sources with several, each against the
one after it (the last against the first).
"""

import argparse
import json
import random
from collections import defaultdict
from pathlib import Path

from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU

from texts import one_line, read_records, share

ROUGE = ["rouge1", "rouge2", "rougeL"]
PLAIN = RougeScorer(ROUGE)
STEMMED = RougeScorer(ROUGE, use_stemmer=True)
BIGRAMS = RougeScorer(["rouge2"])
SENTENCE_BLEU = BLEU(effective_order=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--references", type=Path, required=True, help="people's paraphrases with their sources")
    parser.add_argument("--generated", type=Path, help="generated texts with their sources (default: controls only)")
    parser.add_argument("--write-sources", type=Path, metavar="FILE", help="only write the sources, for `generate --sources`")
    parser.add_argument("--source-column", default="source", help="column or field of the source (default: source)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the shuffled control (default: 0)")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print the first N texts with source and reference")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    arguments = parser.parse_args()
    references = with_source(read_records(arguments.references), arguments.source_column)
    if arguments.write_sources:
        arguments.write_sources.write_text("".join(f"{r['source']}\n" for r in references), encoding="utf-8")
        return
    if arguments.generated:
        pairs = matched(with_source(read_records(arguments.generated), arguments.source_column), references)
    else:
        pairs = [({**record, "candidates": []}, record["text"]) for record in references]
    result = evaluate(pairs, references, bool(arguments.generated), arguments.seed)
    print_result(result)
    for record, reference in pairs[: arguments.show]:
        print(f"- {record['source']}\n  {record['text']}\n  reference: {reference}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def with_source(records: list[dict], column: str) -> list[dict]:
    for number, record in enumerate(records, start=1):
        if not isinstance(record.get(column), str):
            raise SystemExit(f"record {number} has no source in {column!r}; it has {', '.join(record)}")
    return [
        {
            "source": one_line(record[column]),
            "text": record["text"],
            "candidates": [one_line(text) for text in record.get("candidates") or []],
        }
        for record in records
    ]


def matched(records: list[dict], references: list[dict]) -> list[tuple[dict, str]]:
    """Each record with its reference: of those with its source, the one with its number among equals."""
    waiting = defaultdict(list)
    for reference in reversed(references):
        waiting[reference["source"]].append(reference["text"])
    pairs = []
    for number, record in enumerate(records, start=1):
        if not waiting[record["source"]]:
            raise SystemExit(f"record {number}: no reference is left for the source {record['source']!r}; wrong --references?")
        pairs.append((record, waiting[record["source"]].pop()))
    return pairs


def evaluate(pairs: list[tuple[dict, str]], all_references: list[dict], generated: bool, seed: int) -> dict:
    sources = [record["source"] for record, _ in pairs]
    texts = [record["text"] for record, _ in pairs]
    references = [reference for _, reference in pairs]
    candidates = [record["candidates"] for record, _ in pairs]
    several = sorted({len(some) for some in candidates})
    if len(several) > 1:
        raise SystemExit(f"the records have from {several[0]} to {several[-1]} candidates; they must have equally many")
    result = {"texts": len(pairs), "references": len(all_references), "candidates": several[0], "rows": {}}
    rows = result["rows"]
    result["people_to_source"] = mean_to_source(references, sources)
    if generated:
        rows["given"] = measured(texts, references, sources)
    if several[0] > 1:
        chosen = [least_risk(some) for some in candidates]
        rows["random"] = measured([some[0] for some in candidates], references, sources)
        rows["MBR"] = measured(chosen, references, sources)
        rows["oracle"] = oracle(candidates, references)
        result["among"] = share(sum(map(self_bleu, candidates)), len(candidates))
        result["given_is_mbr"] = share(sum(a == b for a, b in zip(texts, chosen)), len(texts))
    shuffled = random.Random(seed).sample(texts, len(texts))
    rows["source"] = measured(sources, references, sources)
    rows["shuffled"] = measured(shuffled, references, sources)
    rows |= human(all_references)
    return result


def human(references: list[dict]) -> dict:
    by_source = defaultdict(list)
    for reference in references:
        by_source[reference["source"]].append(reference["text"])
    several = [
        (texts[place], texts[(place + 1) % len(texts)], source)
        for source, texts in by_source.items()
        for place in range(len(texts))
        if len(texts) > 1
    ]
    return {"human": measured(*map(list, zip(*several)))} if several else {}


def measured(texts: list[str], references: list[str], sources: list[str]) -> dict:
    return {
        "texts": len(texts),
        **mean([rouge(PLAIN, text, reference) for text, reference in zip(texts, references)]),
        "stemmed": mean([rouge(STEMMED, text, reference) for text, reference in zip(texts, references)]),
        "bleu": BLEU().corpus_score(texts, [references]).score,
        "to_source": mean_to_source(texts, sources),
        "copies": share(sum(text.lower() == source.lower() for text, source in zip(texts, sources)), len(texts)),
    }


def oracle(candidates: list[list[str]], references: list[str]) -> dict:
    by_bleu = [max(some, key=lambda text: sentence_bleu(text, [truth])) for some, truth in zip(candidates, references)]
    return {
        "texts": len(candidates),
        **mean([best_rouge(PLAIN, some, truth) for some, truth in zip(candidates, references)]),
        "stemmed": mean([best_rouge(STEMMED, some, truth) for some, truth in zip(candidates, references)]),
        "bleu": BLEU().corpus_score(by_bleu, [references]).score,
    }


def rouge(scorer: RougeScorer, text: str, reference: str) -> dict[str, float]:
    return {name: 100 * score.fmeasure for name, score in scorer.score(reference, text).items()}


def best_rouge(scorer: RougeScorer, candidates: list[str], reference: str) -> dict[str, float]:
    """The best of each measure, perhaps of different candidates."""
    found = [rouge(scorer, text, reference) for text in candidates]
    return {name: max(scores[name] for scores in found) for name in ROUGE}


def mean(scores: list[dict[str, float]]) -> dict[str, float]:
    return {name: share(sum(score[name] for score in scores), len(scores)) for name in ROUGE}


def least_risk(candidates: list[str]) -> str:
    """The candidate with the highest sum of ROUGE-2 F against all others; of equals the first."""
    sums = [
        sum(BIGRAMS.score(other, own)["rouge2"].fmeasure for j, other in enumerate(candidates) if j != i)
        for i, own in enumerate(candidates)
    ]
    return candidates[sums.index(max(sums))]


def mean_to_source(texts: list[str], sources: list[str]) -> float:
    return share(sum(sentence_bleu(text, [source]) for text, source in zip(texts, sources)), len(texts))


def self_bleu(candidates: list[str]) -> float:
    scores = [sentence_bleu(own, candidates[:i] + candidates[i + 1 :]) for i, own in enumerate(candidates)]
    return share(sum(scores), len(scores))


def sentence_bleu(text: str, references: list[str]) -> float:
    return SENTENCE_BLEU.sentence_score(text, references).score


def print_result(result: dict) -> None:
    print(f"{result['texts']} texts, {result['references']} references, {result['candidates']} candidates each")
    print(f"{'':10}{'texts':>7}{'ROUGE-1':>9}{'ROUGE-2':>9}{'ROUGE-L':>9}{'BLEU':>8}{'to source':>11}{'copies':>9}")
    for name, row in result["rows"].items():
        scores = "".join(f"{row[key]:9.2f}" for key in ROUGE)
        copied = f"{row['to_source']:11.2f}{row['copies']:9.1%}" if "to_source" in row else ""
        print(f"{name:10}{row['texts']:7d}{scores}{row['bleu']:8.2f}{copied}")
        print(f"{'  stemmed':17}" + "".join(f"{row['stemmed'][key]:9.2f}" for key in ROUGE))
    print(f"to source, people: {result['people_to_source']:.2f}")
    if "among" in result:
        print(f"among (self-BLEU of the candidates): {result['among']:.2f}")
        print(f"given text is the MBR choice: {result['given_is_mbr']:.1%}")


if __name__ == "__main__":
    main()
