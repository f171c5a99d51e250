#!/usr/bin/env python3
"""How well texts come back out of the autoencoder: corpus BLEU and the share of exact matches.

    python tools/evaluate_reconstruction.py --references FILE --hypotheses FILE

The files run side by side, a record of one for each of the other: .txt (one text a line), .csv or
.jsonl, each also .gz.
"""

import argparse
import json
from pathlib import Path

import sacrebleu

from texts import read_texts, share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--references", type=Path, required=True, help="the texts that went in")
    parser.add_argument("--hypotheses", type=Path, required=True, help="the texts that came out")
    parser.add_argument("--text-column", default="text", help="column or field of the references (default: text)")
    parser.add_argument("--hypothesis-column", default="text", help="column or field of the hypotheses (default: text)")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print the first N pairs that differ")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    arguments = parser.parse_args()
    references = read_texts(arguments.references, arguments.text_column)
    hypotheses = read_texts(arguments.hypotheses, arguments.hypothesis_column)
    if len(references) != len(hypotheses):
        raise SystemExit(f"{len(references)} references, but {len(hypotheses)} hypotheses")

    metric = sacrebleu.metrics.BLEU()
    bleu = metric.corpus_score(hypotheses, [references])
    different = [pair for pair in zip(references, hypotheses) if pair[0] != pair[1]]
    result = {
        "texts": len(references),
        "bleu": bleu.score,
        "exact_match": share(len(references) - len(different), len(references)),
        "bleu_signature": str(metric.get_signature()),
    }
    print(f"texts             {result['texts']}")
    print(f"corpus BLEU       {result['bleu']:.2f}   ({result['bleu_signature']})")
    print(f"exact matches     {result['exact_match']:.2%}")
    for reference, hypothesis in different[: arguments.show]:
        print(f"- {reference}\n+ {hypothesis}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
