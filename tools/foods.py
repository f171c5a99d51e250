"""The kinds of food of the E2E dataset, and which of them a text names."""

import re

FOODS = ["Chinese", "English", "Fast food", "French", "Indian", "Italian", "Japanese"]
UNSPECIFIED = "unspecified"
LANDMARK = re.compile(r"Raja Indian Cuisine", re.IGNORECASE)
PATTERNS = {food: re.compile(rf"\b{food.replace(' ', '[ -]')}\b", re.IGNORECASE) for food in FOODS}


def foods_named(text: str) -> set[str]:
    """The kinds named, case aside; the landmark "Raja Indian Cuisine" names none."""
    text = LANDMARK.sub(" ", text)
    return {food for food, pattern in PATTERNS.items() if pattern.search(text)}
