"""Tests of embeddings.py: `python -m unittest discover tools`, from the repository's root."""

import unittest
from importlib.util import find_spec

from embeddings import MODEL_PACKAGE, EmbeddingModel, packaged_model

for package in ("torch", "transformers", MODEL_PACKAGE):
    if find_spec(package) is None:
        raise unittest.SkipTest(f"{package} is not installed (tools/README.md)")


class Embeddings(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = EmbeddingModel(packaged_model())

    def test_length_is_one_and_the_order_of_the_texts_is_kept(self):
        texts = ["a much longer text about a pub by the river", "cheap food", "", "cheap food"]
        together = self.model.embed(texts)
        self.assertEqual(together.shape, (4, 384))
        for row, text in zip(together, texts):
            self.assertAlmostEqual(float(row @ row), 1, places=5)
            self.assertAlmostEqual(float(row @ self.model.embed([text])[0]), 1, places=5)

    def test_meaning_counts_more_than_words(self):
        wanted, near, far = self.model.embed(["how do i learn to cook", "ways of becoming a chef", "how do i learn to drive"])
        other = self.model.embed(["the stock market fell"])[0]
        self.assertGreater(wanted @ near, wanted @ other)
        # The value that sentence-transformers 6.2.0 has for these two.
        self.assertAlmostEqual(float(wanted @ far), 0.438605, places=4)


if __name__ == "__main__":
    unittest.main()
