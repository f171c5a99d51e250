"""Tests of meanings.py: `python -m unittest discover tools`, from the repository's root."""

import unittest
from pathlib import Path

from meanings import SAME, parse_meaning, slot_errors, without_missing
from texts import read_records

DATA = Path(__file__).resolve().parent.parent / "data" / "e2e" / "valid.jsonl.gz"

FULL = (
    "name[The Vaults], eatType[pub], food[Italian], priceRange[less than £20], customer rating[5 out of 5], "
    "area[riverside], familyFriendly[yes], near[Café Rouge]"
)
OTHER_VALUES = {
    "name": "The Mill",
    "eatType": "coffee shop",
    "food": "Japanese",
    "priceRange": "moderate",
    "customer rating": "average",
    "area": "city centre",
    "familyFriendly": "no",
    "near": "The Bakers",
}


def errors(meaning: str, text: str) -> str:
    found = slot_errors(parse_meaning(meaning), text)
    return " ".join(f"{kind}:{slot}" for kind in ("missing", "wrong", "added") for slot in getattr(found, kind))


class Meanings(unittest.TestCase):
    def test_ways_of_saying_it_all(self):
        for text in [
            "The Vaults is a cheap Italian pub by the river near Café Rouge. It is kid friendly and rated 5 out of 5.",
            "Near Cafe Rouge in Riverside, The Vaults is a pub with low prices, a high customer rating and pasta; children are welcome.",
            "the vaults, a family-friendly, five-star Italian pub on the riverside close to Café Rouge, costs less than £20.",
            "Customers rate The Vaults, an inexpensive pub near Café Rouge, 5/5. Its Italian food suits families. It lies on the river.",
        ]:
            self.assertEqual(errors(FULL, text), "", text)

    def test_values_that_are_easily_mixed_up(self):
        for meaning, text in [
            ("name[Cotto], priceRange[high], customer rating[1 out of 5]", "Cotto has a high price range and a customer rating of 1 out of 5."),
            ("name[Cotto], priceRange[high], customer rating[low]", "Cotto is high-priced with low customer ratings."),
            ("name[Cotto], priceRange[moderate], customer rating[1 out of 5]", "Cotto is moderately priced and has 1 out of 5 stars."),
            ("name[Cotto], priceRange[£20-25], customer rating[high]", "Cotto has a price range of £20-25 and a high customer rating."),
            ("name[Cotto], priceRange[more than £30], customer rating[average]", "Cotto costs more than £30, and its customer rating is average."),
            ("name[Cotto], priceRange[cheap], customer rating[3 out of 5]", "Cotto is in the low price range. It has 3 out of 5 stars."),
            ("name[Cotto], familyFriendly[no]", "Cotto is not family-friendly."),
            ("name[Cotto], familyFriendly[no]", "Cotto is no place for children."),
            ("name[Cotto], priceRange[cheap], familyFriendly[yes]", "Cotto is not expensive and family friendly."),
            ("name[Cotto], near[Burger King]", "Cotto is near Burger King."),
            ("name[The Golden Curry], food[English], near[Raja Indian Cuisine]", "The Golden Curry near Raja Indian Cuisine has English food."),
            ("name[Aromi], eatType[pub], near[Rainbow Vegetarian Café]", "Aromi is a pub near the Rainbow Vegetarian Café."),
            ("name[Cotto], food[French]", "Cotto is a French restaurant."),
        ]:  # fmt: skip
            self.assertEqual(errors(meaning, text), "", text)

    def test_faults(self):
        for text, expected in [
            ("The Vaults is a cheap Italian pub near Café Rouge, rated 5 out of 5, for families.", "missing:area"),
            ("The Vaults is a cheap Italian pub by the river near Café Rouge, rated 1 out of 5, for families.", "wrong:customer rating"),
            ("The Vaults is an expensive Italian pub by the river near Café Rouge, rated 5 out of 5, for families.", "wrong:priceRange"),
            ("The Mill is a cheap Italian pub by the river near Café Rouge, rated 5 out of 5, for families.", "wrong:name"),
            ("The Vaults is a cheap Italian pub by the river near The Bakers, rated 5 out of 5, not for families.", "wrong:near wrong:familyFriendly"),
            ("A cheap Italian and Chinese pub by the river near Café Rouge, rated 5 out of 5, for families.", "missing:name wrong:food"),
        ]:  # fmt: skip
            self.assertEqual(errors(FULL, text), expected, text)
        text = "Cotto near Burger King in the city centre has a low rating."
        self.assertEqual(errors("name[Cotto]", text), "added:near added:customer rating added:area")

    def test_what_a_text_leaves_out_is_taken_from_its_meaning(self):
        text = "The Vaults is a cheap Italian pub near Café Rouge."
        said = "name[The Vaults], eatType[pub], food[Italian], priceRange[less than £20], near[Café Rouge]"
        self.assertEqual(without_missing(FULL, text), said)
        self.assertEqual(without_missing(said, text), said)
        self.assertIsNone(without_missing(said, text + " It is in the city centre."), "added")
        self.assertIsNone(without_missing(said, text.replace("cheap", "pricey")), "wrong")
        self.assertIsNone(without_missing("food[Italian]", "Nice."), "nothing is said")

    def test_faithful_texts_have_no_errors(self):
        records = read_records(DATA.with_name("valid-faithful.jsonl.gz"))
        self.assertGreater(len(records), 4_000)
        for record in records:
            self.assertEqual(slot_errors(parse_meaning(record["mr"]), record["text"]).count(), 0, record)

    def test_a_meaning_must_be_one_of_e2e(self):
        for meaning in ["", "The Vaults", "name[Cotto], wheels[four]"]:
            with self.assertRaises(ValueError):
                parse_meaning(meaning)

    def test_real_texts_are_held_against_changed_meanings(self):
        """A text that says all of its meaning does not say that of another one."""
        tried = {"changed": 0, "left out": 0}
        noticed = dict.fromkeys(tried, 0)
        for record in read_records(DATA):
            meaning = parse_meaning(record["mr"])
            if slot_errors(meaning, record["text"]).count():
                continue
            for slot, value in meaning.items():
                if value == "restaurant":
                    continue
                other = OTHER_VALUES[slot]
                if SAME.get(slot, {}).get(value, value) != SAME.get(slot, {}).get(other, other):
                    tried["changed"] += 1
                    noticed["changed"] += slot_errors({**meaning, slot: other}, record["text"]).count() > 0
                if slot != "name":
                    fewer = {key: value for key, value in meaning.items() if key != slot}
                    tried["left out"] += 1
                    noticed["left out"] += slot_errors(fewer, record["text"]).count() > 0
        self.assertGreater(min(tried.values()), 10_000)
        self.assertEqual(noticed["left out"], tried["left out"])
        self.assertGreater(noticed["changed"] / tried["changed"], 0.999)


if __name__ == "__main__":
    unittest.main()
