"""The meaning representations of E2E, and what a text says of them.

A text's statements are found with patterns, in the manner of the slot error scripts that came with the
E2E challenge (Dušek, Howcroft and Rieser 2019): every value of a slot has its ways of being said, and
what stands for the same is one value here: `cheap` and `less than £20`, `high` and `5 out of 5`, ...
"""

import re
import unicodedata
from dataclasses import dataclass

NAMES = [
    "Alimentum", "Aromi", "Bibimbap House", "Blue Spice", "Browns Cambridge", "The Cambridge Blue", "Clowns",
    "Cocum", "Cotto", "The Cricketers", "The Dumpling Tree", "The Eagle", "Fitzbillies", "Giraffe",
    "The Golden Curry", "The Golden Palace", "Green Man", "Loch Fyne", "Midsummer House", "The Mill",
    "The Olive Grove", "The Phoenix", "The Plough", "The Punter", "The Rice Boat", "Strada", "Taste of Cambridge",
    "Travellers Rest Beefeater", "The Twenty Two", "The Vaults", "The Waterman", "Wildwood", "The Wrestlers", "Zizzi",
]  # fmt: skip
LANDMARKS = [
    "All Bar One", "Avalon", "The Bakers", "Burger King", "Café Adriatic", "Café Brazil", "Café Rouge", "Café Sicilia",
    "Clare Hall", "Crowne Plaza Hotel", "Express by Holiday Inn", "The Portland Arms", "Rainbow Vegetarian Café",
    "Raja Indian Cuisine", "Ranch", "The Rice Boat", "The Six Bells", "The Sorrento", "Yippee Noodle Bar",
]  # fmt: skip

# Ways of writing a place's name, beside its own.
OTHER_SPELLINGS = {
    "Browns Cambridge": r"brown'?s",
    "Crowne Plaza Hotel": r"crowne? plaza",
    "Express by Holiday Inn": r"express (?:by |at )?(?:the )?holiday inn|holiday inn(?: express)?|express inn",
    "Rainbow Vegetarian Café": r"rainbow (?:veg\w* )?(?:cafe|restaurant)|rainbow vegetarian",
    "Raja Indian Cuisine": r"raja(?: indian)?(?: cuisine| restaurant)?",
    "Travellers Rest Beefeater": r"travell?er'?s'? rest(?: beefeater)?",
    "The Twenty Two": r"twenty[- ]two",
    "Yippee Noodle Bar": r"yippee(?: noodle)?(?: bar)?",
    "The Cricketers": r"cricketers?",
    "The Wrestlers": r"wrestlers?",
    "The Bakers": r"bakers?",
    "The Vaults": r"vaults?",
}

# Nothing that ends a clause or changes from the customers' rating to the price.
GAP = r"(?:(?!\bpric|\bcost|\bcheap|\bexpens|\band\b|\bbut\b|\bwith\b|\barea\b)[^.,;:!?£])"
JUDGEMENT = r"(?:rat(?:ed|ings?|es?)\b|reviews?\b|reviewed\b|customers?\b|costumers?\b|satisfaction\b|scores?\b)"
NOT_A_PRICE = r"(?![ -]*(?:pric|cost|end\b|class\b))"


def rating(adjectives: str) -> str:
    words = rf"\b(?:{adjectives})\b"
    return rf"{words}{NOT_A_PRICE}{GAP}{{0,14}}\b{JUDGEMENT}|\b{JUDGEMENT}{GAP}{{0,18}}{words}{NOT_A_PRICE}"


def stars(digit: str) -> str:
    count = rf"(?<![\d£.])(?<!\d-)(?<!of )(?:{digit})"
    ends = r"[ -]*(?:(?:out|star\w*|rating)[ -]*(?:out )?of[ -]*(?:5|five)\b|out 5|stars?\b|/ ?(?:5|five)\b|of 5\b)"
    return rf"\b{count}{ends}|\brat(?:ed|ings?)\b(?:\W+(?:of|is|as|at|a|an|was|only|just)\b){{0,3}}\W+(?:{digit})\b(?!\d)"


GOOD = r"high(?:ly|er|est)?|excellent|great|top|perfect|outstanding|positive|superb|well|good|best|exceptional"
FAIR = r"average|mediocre|satisfactory|moderate(?:ly)?|decent(?:ly)?|medium|middling|ok(?:ay)?"
POOR = r"low(?:er|ly|est)?|poor(?:ly)?|bad(?:ly)?|terrible|negative|below average"
PRICED = r"[ -]*(?:\w+ )?(?:pric(?:e|es|ed|ing)\b|costs?\b|cost\b)"
PRICE_IS = rf"\b(?:pric(?:e|es|ed|ing)|costs?)\b(?:(?!\brat|\bcustomer|\breview)[^.,;:!?£]){{0,18}}"
NOT_A_RATING = r"(?![ -]*(?:customer|rat(?:ed|ing)|review|star))"

# For each slot the statements that a text may make: a pattern, and the values of which it may be one.
STATEMENTS: dict[str, list[tuple[str, set[str]]]] = {
    "eatType": [
        (r"\bcoffee[- ]?(?:shop|house|place|bar|spot|store)|\bcafes?\b", {"coffee shop"}),
        (r"\bpubs?\b|\bpublic house|\btavern|\binn\b", {"pub"}),
        (r"\brestaurants?\b|\beater(?:y|ie)|\bbistro|\bdiner\b|\bdining\b|\bplaces? to eat\b", {"restaurant"}),
    ],
    "food": [
        (r"\bchinese\b", {"Chinese"}),
        (r"\benglish\b|\bbritish\b(?! pound)|\bfish (?:and|&|n) chips", {"English"}),
        (r"\bfast[- ]?foods?\b|\bburgers?\b|\bhamburgers?\b|\bfries\b", {"Fast food"}),
        (r"\bfrench\b(?! fries)", {"French"}),
        (r"\bindian\b|\bcurr(?:y|ies)\b", {"Indian"}),
        (r"\bitalian\b|\bpastas?\b|\bpizzas?\b|\bspaghetti\b", {"Italian"}),
        (r"\bjapanese\b|\bsushi\b", {"Japanese"}),
    ],
    "priceRange": [
        (rf"\b(?:cheap\w*|inexpensive\w*|budget|bargain|economical|low[- ]?budget)\b|\blow(?:er)?{PRICED}", {"low"}),
        (rf"{PRICE_IS}\blow(?:er|est)?\b{NOT_A_RATING}|\b(?:not|n't) (?:\w+ )?expensive", {"low"}),
        (r"\b(?:less|lower|fewer|cheaper) than (?:£ ?|twenty)?(?:20\b|pounds)?|\b(?:under|below|up to|within) (?:£ ?20|20|twenty)\b|£ ?20 (?:or|and) (?:less|under)", {"low"}),
        (rf"\bmoderate(?:ly)?\b{NOT_A_RATING}|\bmid[- ]?(?:range|price\w*|level)\b|\bmedium{PRICED}", {"mid"}),
        (rf"(?<!above )\baverage(?:ly)?{PRICED}|{PRICE_IS}(?<!above )\b(?:average|medium|mid)\b(?! (?:more|less|under|over)){NOT_A_RATING}", {"mid"}),
        (r"(?:£ ?|\b)20 ?(?:-|–|to|and|through) ?(?:£ ?)?25\b|\btwenty to twenty", {"mid"}),
        (r"\baffordabl[ey]\b|\breasonabl[ey]\b|\bfair(?:ly)?[ -]pric\w+|\bgood value|\bdecent(?:ly)?[ -]pric\w+", {"low", "mid"}),
        (rf"(?<!not )(?<!n't )(?<!moderately )\bexpensive\b|\babove average\b(?! \w* ?(?:rat|review|customer))|\bpric[e]?y\b|\bcostly\b|\bupscale\b|\bhigh[- ](?:end|class)\b|\bhigh(?:er|ly|est)?{PRICED}", {"high"}),
        (rf"{PRICE_IS}\b(?:high(?:er|est)?|steep)\b{NOT_A_RATING}", {"high"}),
        (r"\b(?:more|higher|greater) than (?:£ ?|thirty)?(?:30\b|pounds)?|\b(?:over|above|upwards of|from|exceed\w*|at least) (?:£ ?30|30|thirty)\b|£ ?30 ?(?:\+|(?:or|and) (?:more|up|over|above))|£ ?30 plus", {"high"}),
    ],
    "customer rating": [
        (rating(POOR) + "|" + stars("1|one"), {"low"}),
        (r"\b(?:not|n't) (?:very )?(?:well|highly|good)\b", {"low"}),
        (rf"(?<!below )(?:{rating(FAIR)})|" + stars("3|three"), {"mid"}),
        (rating(GOOD) + "|" + stars("5|five") + r"|\b(?:highly|well|top)[ -](?:rated|recommended|reviewed|regarded)", {"high"}),
        (stars("2|two|4|four"), set()),
    ],
    "area": [
        (r"\briver(?:side|bank|front)?s?\b|\bwater(?:side|front)\b", {"riverside"}),
        (r"\bcity\b|\btown\b|\bcent(?:re|er|ral)\b|\bdowntown\b", {"city centre"}),
    ],
}  # fmt: skip

FAMILY = r"(?:famil(?:y|ies)|kids?\b|child(?:ren|s|'s)?\b|kiddies|toddlers?|youngsters?)"
UNFIT = r"(?:unfriendly|unwelcom\w+|unsuit\w+|inappropriate|discouraged|prohibited|banned|not\b|n't\b|cannot\b)"
NO_FAMILIES = re.compile(
    rf"\b(?:not?|non|never|isn|aren|doesn|don|without|lacks?|hardly|un)\b(?:(?!\band\b|\bbut\b)[^.;,]){{0,35}}\b{FAMILY}"
    rf"|n't (?:(?!\band\b|\bbut\b)[^.;,]){{0,35}}\b{FAMILY}|\b{FAMILY}(?:(?!\bbut\b)[^.;,]){{0,30}}\b{UNFIT}"
    r"|\badults?\b|\bgrown[- ]?ups?\b|\bover 18|\b(?:child|kid)s?[- ]?free|\bnon-?famil"
)
FAMILIES = re.compile(rf"\b{FAMILY}|\ball age")

# Values that say the same are one.
SAME = {
    "priceRange": {"cheap": "low", "less than £20": "low", "moderate": "mid", "£20-25": "mid", "high": "high", "more than £30": "high"},
    "customer rating": {"low": "low", "1 out of 5": "low", "average": "mid", "3 out of 5": "mid", "high": "high", "5 out of 5": "high"},
}  # fmt: skip
SLOTS = ["name", "eatType", "food", "priceRange", "customer rating", "area", "familyFriendly", "near"]
COMPILED = {
    slot: [(re.compile(pattern), values) for pattern, values in statements] for slot, statements in STATEMENTS.items()
}


@dataclass
class SlotErrors:
    """The slots of a meaning that a text leaves out, gets wrong, or adds."""

    slots: int
    missing: list[str]
    wrong: list[str]
    added: list[str]

    def count(self) -> int:
        return len(self.missing) + len(self.wrong) + len(self.added)


def parse_meaning(meaning: str) -> dict[str, str]:
    """`name[The Mill], food[French]` as a dictionary."""
    slots = dict(re.findall(r"([A-Za-z][A-Za-z ]*?)\s*\[([^\]]*)\]", meaning))
    unknown = [slot for slot in slots if slot not in SLOTS]
    if not slots or unknown:
        raise ValueError(f"not a meaning of E2E: {meaning!r}" + (f" has {unknown}" if unknown else ""))
    return slots


def slot_errors(meaning: dict[str, str], text: str) -> SlotErrors:
    """Compares what a text says with what it should say.

    Whatever a place is, it may be called a restaurant. A slot that a text names rightly and wrongly counts
    as wrong. What only hints at a value, as a breakfast at English food, is not taken for it.
    """
    text = plain(text)
    errors = SlotErrors(len(meaning), [], [], [])
    places, text = find_places(text)
    check_places(meaning, places, errors)
    for slot, statements in COMPILED.items():
        said = [values for pattern, values in statements if pattern.search(text)]
        wanted = meaning.get(slot)
        if slot == "eatType" and wanted != "restaurant":
            said = [values for values in said if "restaurant" not in values]
        judge(slot, SAME.get(slot, {}).get(wanted, wanted), said, errors)
    judge("familyFriendly", meaning.get("familyFriendly"), families(text), errors)
    return errors


def without_missing(meaning: str, text: str) -> str | None:
    """The meaning less the slots that the text leaves out; none if the text gets a slot wrong, adds one,
    or says nothing of the meaning."""
    slots = parse_meaning(meaning)
    errors = slot_errors(slots, text)
    kept = [f"{slot}[{value}]" for slot, value in slots.items() if slot not in errors.missing]
    return None if errors.wrong or errors.added or not kept else ", ".join(kept)


def judge(slot: str, wanted: str | None, said: list[set[str]], errors: SlotErrors) -> None:
    if wanted is None:
        if said:
            errors.added.append(slot)
    elif not said:
        errors.missing.append(slot)
    elif any(wanted not in values for values in said):
        errors.wrong.append(slot)


def families(text: str) -> list[set[str]]:
    if NO_FAMILIES.search(text):
        return [{"no"}]
    return [{"yes"}] if FAMILIES.search(text) else []


def check_places(meaning: dict[str, str], found: set[str], errors: SlotErrors) -> None:
    others = found - {place_key(meaning[slot]) for slot in ("name", "near") if slot in meaning}
    for slot in ("name", "near"):
        if slot in meaning and place_key(meaning[slot]) not in found:
            (errors.wrong if others else errors.missing).append(slot)
            others = set()
    if others:
        errors.added.append("near")


def plain(text: str) -> str:
    """Lower case without accents, with plain quotes and hyphens."""
    text = text.replace("’", "'").replace("‘", "'").replace("–", "-").replace("—", "-")
    decomposed = unicodedata.normalize("NFKD", text.lower())
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def place_key(name: str) -> str:
    return re.sub(r"^the ", "", plain(name))


def place_pattern(name: str) -> re.Pattern:
    own = r"[ -]?".join(re.escape(word) for word in place_key(name).split())
    others = OTHER_SPELLINGS.get(name)
    return re.compile(rf"\b(?:the )?(?:{own}{'|' + others if others else ''})(?!\w)")


PLACES = {
    place_key(name): place_pattern(name)
    for name in sorted({*NAMES, *LANDMARKS}, key=lambda name: -len(name))
}


def find_places(text: str) -> tuple[set[str], str]:
    """The places that a plain text names, and the text without them."""
    found = set()
    for key, pattern in PLACES.items():
        text, times = pattern.subn(" @ ", text)
        if times:
            found.add(key)
    return found, text
