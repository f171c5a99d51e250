#!/usr/bin/env python3
"""Whether texts generated for a class belong to it: classifiers trained on real texts, and a class scale.

    python tools/evaluate_classes.py --generated FILE [FILE ..] --train FILE --test FILE

Files are .jsonl or .csv, also .gz, with `text` and `label`. Several generated files, of other seeds say,
are judged one by one; then mean and standard deviation follow. Without --generated, only the real texts
are judged.

Accuracy: the share of texts that get the label they were generated for, by two classifiers that see
texts in different ways, so that one can tell whether a result hangs on the classifier:
  minilm    logistic regression on sentence embeddings of all-MiniLM-L6-v2
  tfidf     logistic regression on TF-IDF of words and pairs of words
Both learn from the training set and are wrong about some real texts too: the row `real test` says how
many. Texts that are plainer than real ones are easier, so that an accuracy above the real one means no
more than one equal to it. The confusion matrix has a row for each wanted label and a column for each
found one.

Class scale: MAUVE of the texts generated for a class (row) against the real test texts of a class
(column), from 0 to 1: the diagonal should be high and the rest low. Each cell compares the same number
of texts. `real train` is the same for training texts in place of generated ones: what a model could
reach that draws from the training set's own distribution. The settings are those of the paper
on latent diffusion for language (table 5), but its features are GPT-2-large's and these are MiniLM's:
only the picture compares with it, not the numbers.
"""

import argparse
import json
import random
from collections import defaultdict
from pathlib import Path

from embeddings import EmbeddingModel, packaged_model
from mauve_score import mauve
from spread import spread
from texts import read_records, share

Pairs = list[tuple[str, str]]  # texts and their labels


def main() -> None:
    arguments = parse_arguments()
    train, test = (read_pairs(path, arguments.label_column) for path in (arguments.train, arguments.test))
    samples = {path: read_pairs(path, arguments.label_column) for path in arguments.generated}
    labels = sorted({label for _, label in train})
    for path, pairs in {arguments.test: test, **samples}.items():
        check_labels(path, pairs, labels)

    embedded = embed([train, test, *samples.values()], EmbeddingModel(packaged_model()))
    classifiers = {"minilm": minilm_classifier(train, embedded), "tfidf": tfidf_classifier(train)}
    result = {"labels": labels, "generated": {}}
    result["real_test"] = accuracies(classifiers, "real test", test, labels)
    for path, pairs in samples.items():
        result["generated"][str(path)] = accuracies(classifiers, str(path), pairs, labels)

    if not arguments.no_mauve:
        count = min(arguments.count, *(smallest_class(pairs, labels) for pairs in (train, test, *samples.values())))
        result["mauve_texts_per_class"] = count
        result["real_train"] = {}
        for into, title, pairs in [
            (result["real_train"], "real train", train),
            *((result["generated"][str(path)], str(path), pairs) for path, pairs in samples.items()),
        ]:
            into["mauve"] = class_scale(pairs, test, labels, embedded, count, arguments.seed)
            print(f"\nMAUVE against {count} real test texts of each class: {title}")
            print_matrix(into["mauve"], labels, lambda cell: f"{cell:.3f}")

    if len(samples) > 1:
        result["over_files"] = spread(list(result["generated"].values()))
        print_over_files(result["over_files"], labels)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generated", type=Path, nargs="+", default=[], help="generated texts with labels (default: none)")
    parser.add_argument("--train", type=Path, required=True, help="real texts that the classifiers learn from")
    parser.add_argument("--test", type=Path, required=True, help="real texts that neither they nor the model learned from")
    parser.add_argument("--label-column", default="label", help="column or field of the label (default: label)")
    parser.add_argument("--count", type=int, default=1000, help="most texts of a class for MAUVE (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the samples for MAUVE (default: 0)")
    parser.add_argument("--no-mauve", action="store_true", help="leave the class scale out")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    return parser.parse_args()


def read_pairs(path: Path, column: str) -> Pairs:
    records = read_records(path)
    for number, record in enumerate(records, start=1):
        if not isinstance(record.get(column), str):
            raise SystemExit(f"{path}: record {number} has no label in {column!r}; it has {', '.join(record)}")
    return [(record["text"], record[column]) for record in records]


def check_labels(path: Path, pairs: Pairs, labels: list[str]) -> None:
    found = {label for _, label in pairs}
    if found != set(labels):
        its_own, wanted = ", ".join(sorted(found)), ", ".join(labels)
        raise SystemExit(f"{path}: its labels are {its_own}, but those of the training set {wanted}")


def embed(samples: list[Pairs], model: EmbeddingModel) -> dict:
    """The embedding of every text."""
    texts = sorted({text for pairs in samples for text, _ in pairs})
    return dict(zip(texts, model.embed(texts)))


def minilm_classifier(train: Pairs, embedded: dict):
    from sklearn.linear_model import LogisticRegression

    found = LogisticRegression(C=10, max_iter=1000).fit([embedded[text] for text, _ in train], [label for _, label in train])
    return lambda texts: found.predict([embedded[text] for text in texts]).tolist()


def tfidf_classifier(train: Pairs):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+|[^\w\s]")
    found = make_pipeline(features, LogisticRegression(C=10, max_iter=1000))
    found.fit([text for text, _ in train], [label for _, label in train])
    return lambda texts: found.predict(texts).tolist()


def accuracies(classifiers: dict, title: str, pairs: Pairs, labels: list[str]) -> dict:
    """The judgement of each classifier, printed too."""
    result = {name: judged(classify, pairs, labels) for name, classify in classifiers.items()}
    for name, row in result.items():
        print(f"\n{title}: {name} is right about {row['accuracy']:.2%} of {row['texts']} texts")
        print_matrix(row["confusion"], labels, lambda cell: f"{cell:.1%}")
    return result


def judged(classify, pairs: Pairs, labels: list[str]) -> dict:
    """The accuracy over all texts, and of each wanted label the share that each label was found in."""
    predicted = classify([text for text, _ in pairs])
    counts = {wanted: {found: 0 for found in labels} for wanted in labels}
    for (_, wanted), found in zip(pairs, predicted):
        counts[wanted][found] += 1
    return {
        "texts": len(pairs),
        "accuracy": share(sum(counts[label][label] for label in labels), len(pairs)),
        "confusion": {
            wanted: {found: share(count, sum(row.values())) for found, count in row.items()} for wanted, row in counts.items()
        },
    }


def by_label(pairs: Pairs) -> dict[str, list[str]]:
    texts = defaultdict(list)
    for text, label in pairs:
        texts[label].append(text)
    return texts


def smallest_class(pairs: Pairs, labels: list[str]) -> int:
    texts = by_label(pairs)
    return min(len(texts[label]) for label in labels)


def class_scale(pairs: Pairs, test: Pairs, labels: list[str], embedded: dict, count: int, seed: int) -> dict:
    """MAUVE of each class of `pairs` against each of `test`, of `count` texts drawn from both."""
    randomly = random.Random(seed)
    real, judged_texts = (
        {label: [embedded[text] for text in randomly.sample(texts[label], count)] for label in labels}
        for texts in (by_label(test), by_label(pairs))
    )
    return {row: {column: mauve(judged_texts[row], real[column]) for column in labels} for row in labels}


def print_over_files(result: dict, labels: list[str]) -> None:
    print("\nmean (standard deviation) over the files")
    for name in ("minilm", "tfidf"):
        accuracy = result[name]["accuracy"]
        print(f"accuracy by {name}: {accuracy['mean']:.2%} ({accuracy['deviation']:.2%})")
    if "mauve" in result:
        print_matrix(result["mauve"], labels, lambda cell: f"{cell['mean']:.3f} ({cell['deviation']:.3f})")


def print_matrix(matrix: dict, labels: list[str], style) -> None:
    width = max(16, 2 + max(map(len, labels)))
    print(" " * width + "".join(f"{label:>{width}}" for label in labels))
    for row in labels:
        print(f"{row:{width}}" + "".join(f"{style(matrix[row][column]):>{width}}" for column in labels))


if __name__ == "__main__":
    main()
