"""Tests of evaluate_classes.py: `python -m unittest discover tools`, from the repository's root."""

import unittest
from pathlib import Path

from evaluate_classes import check_labels, class_scale, judged, minilm_classifier, tfidf_classifier

try:
    import mauve  # noqa: F401
    import numpy as np
    import sklearn  # noqa: F401
except ModuleNotFoundError as error:
    raise unittest.SkipTest(f"{error.name} is not installed (tools/requirements.txt)") from None

LABELS = ["food", "sport"]
TRAIN = [(f"{word} {number}", label) for number in range(10) for word, label in (("soup", "food"), ("goal", "sport"))]


def embedded(pairs, spread: float = 0.1) -> dict:
    """Food about one point, sport about another."""
    centres = {"food": [1, 0, 0], "sport": [0, 1, 0]}
    random = np.random.default_rng(0)
    return {text: (np.array(centres[label]) + spread * random.standard_normal(3)).astype(np.float32) for text, label in pairs}


class Accuracy(unittest.TestCase):
    def test_confusion_of_answers_that_are_known(self):
        answers = {"a": "food", "b": "food", "c": "sport", "d": "food"}
        pairs = [("a", "food"), ("b", "sport"), ("c", "sport"), ("d", "sport")]
        found = judged(lambda texts: [answers[text] for text in texts], pairs, LABELS)
        self.assertEqual(found["accuracy"], 0.5)
        self.assertEqual(found["confusion"]["food"], {"food": 1.0, "sport": 0.0})
        self.assertEqual(found["confusion"]["sport"], {"food": 2 / 3, "sport": 1 / 3})

    def test_classifiers_learn_what_tells_the_labels_apart(self):
        for classify in (tfidf_classifier(TRAIN), minilm_classifier(TRAIN, embedded(TRAIN))):
            self.assertEqual(judged(classify, TRAIN, LABELS)["accuracy"], 1)
            wrong = [(text, LABELS[label == "food"]) for text, label in TRAIN]
            self.assertEqual(judged(classify, wrong, LABELS)["accuracy"], 0)

    def test_other_labels_are_an_error(self):
        with self.assertRaisesRegex(SystemExit, "its labels are food, but those of the training set food, sport"):
            check_labels(Path("x"), [("a", "food")], LABELS)


class Scale(unittest.TestCase):
    def test_the_diagonal_is_high_and_the_rest_low(self):
        pairs = [(f"{label} {number}", label) for label in LABELS for number in range(60)]
        scale = class_scale(pairs, pairs, LABELS, embedded(pairs), 50, 0)
        for row in LABELS:
            for column in LABELS:
                (self.assertGreater if row == column else self.assertLess)(scale[row][column], 0.5)


if __name__ == "__main__":
    unittest.main()
