"""Tests of evaluate_paraphrases.py: `python -m unittest discover tools`, from the repository's root."""

import unittest

try:
    from evaluate_paraphrases import evaluate, human, least_risk, matched, measured, oracle, self_bleu, with_source
except ModuleNotFoundError as error:
    raise unittest.SkipTest(f"{error.name} is not installed (tools/requirements.txt)") from None


def record(source: str, text: str, *candidates: str) -> dict:
    return {"source": source, "text": text, "candidates": list(candidates)}


class Matching(unittest.TestCase):
    references = [record("a", "first"), record("b", "only"), record("a", "second")]

    def test_records_of_one_source_take_its_references_in_order(self):
        pairs = matched([record("a", "x"), record("a", "y"), record("b", "z")], self.references)
        self.assertEqual([reference for _, reference in pairs], ["first", "second", "only"])

    def test_a_part_of_the_references_will_do(self):
        self.assertEqual([truth for _, truth in matched([record("b", "z")], self.references)], ["only"])

    def test_a_record_too_many_is_an_error(self):
        for records in ([record("b", "x"), record("b", "y")], [record("c", "x")]):
            with self.assertRaisesRegex(SystemExit, "no reference is left"):
                matched(records, self.references)

    def test_a_record_without_source_is_an_error(self):
        with self.assertRaisesRegex(SystemExit, "record 1 has no source in 'mr'"):
            with_source([{"text": "x", "source": "y"}], "mr")


class Measures(unittest.TestCase):
    def test_rouge_of_texts_that_share_some_words(self):
        # Of 4 and 5 words 3 are shared, of 3 and 4 bigrams 1, and the longest common subsequence has 3.
        found = measured(["how do i learn"], ["how can i learn rust"], ["another text of words"])
        self.assertAlmostEqual(found["rouge1"], 100 * 2 * 3 / 9)
        self.assertAlmostEqual(found["rouge2"], 100 * 2 * 1 / 7)
        self.assertAlmostEqual(found["rougeL"], 100 * 2 * 3 / 9)
        self.assertEqual(found["copies"], 0)

    def test_stemming_joins_forms_of_a_word(self):
        found = measured(["learning"], ["learned"], ["x"])
        self.assertEqual(found["rouge1"], 0)
        self.assertAlmostEqual(found["stemmed"]["rouge1"], 100)

    def test_a_copy_of_the_source_is_noticed(self):
        found = measured(["What is a good pub"], ["which pubs are there"], ["what is a good pub"])
        self.assertEqual(found["copies"], 1)
        copied = measured(["what is a good pub"], ["what is a good pub"], ["what is a good pub"])
        for measure in ("rouge1", "rouge2", "rougeL", "bleu", "to_source"):
            self.assertAlmostEqual(copied[measure], 100)

    def test_oracle_takes_the_best_of_each_measure(self):
        candidates = ["d c b a", "a b x y"]  # all words without order; the first two in order
        found = oracle([candidates], ["a b c d"])
        self.assertAlmostEqual(found["rouge1"], 100)
        self.assertAlmostEqual(found["rouge2"], 100 / 3)
        self.assertAlmostEqual(found["rougeL"], 50)

    def test_the_choice_is_the_most_alike_and_of_equals_the_first(self):
        self.assertEqual(least_risk(["a bus is late", "the mill is a pub", "the mill is a cheap pub"]), "the mill is a pub")
        self.assertEqual(least_risk(["one", "two", "three"]), "one")

    def test_self_bleu_of_equal_and_of_different_candidates(self):
        self.assertAlmostEqual(self_bleu(["a b c d e", "a b c d e"]), 100)
        self.assertEqual(self_bleu(["a b c d e", "f g h i j"]), 0)

    def test_human_texts_are_held_against_one_another(self):
        found = human([record("s", "a b"), record("t", "never used"), record("s", "a c")])
        self.assertEqual(found["human"]["texts"], 2)
        self.assertAlmostEqual(found["human"]["rouge1"], 50)
        self.assertEqual(human([record("s", "a b")]), {})


class Rows(unittest.TestCase):
    def test_all_rows_of_a_file_with_candidates(self):
        references = [record("a b", "c d"), record("e f", "g h")]
        pairs = matched([record("a b", "c d", "x y", "c d", "c d"), record("e f", "g h", "g h", "g h", "z")], references)
        result = evaluate(pairs, references, True, 0)
        self.assertEqual(list(result["rows"]), ["given", "random", "MBR", "oracle", "source", "shuffled"])
        scores = {name: row["rouge1"] for name, row in result["rows"].items() if name != "shuffled"}
        self.assertEqual(scores, {"given": 100, "random": 50, "MBR": 100, "oracle": 100, "source": 0})
        self.assertEqual(result["given_is_mbr"], 1)

    def test_candidates_in_varying_number_are_an_error(self):
        pairs = [(record("a", "b", "b"), "c"), (record("d", "e", "e", "f"), "g")]
        with self.assertRaisesRegex(SystemExit, "from 1 to 2 candidates"):
            evaluate(pairs, [], True, 0)

    def test_controls_alone(self):
        references = [record("a b", "c d"), record("e f", "g h")]
        result = evaluate([(r, r["text"]) for r in references], references, False, 0)
        self.assertEqual(list(result["rows"]), ["source", "shuffled"])
        self.assertEqual(result["people_to_source"], 0)


if __name__ == "__main__":
    unittest.main()
