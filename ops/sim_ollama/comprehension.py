"""How much a simulated model understands of a page: enough to answer with quotes."""

import re
from collections.abc import Sequence

from ops.sim_ollama.reading import Reading

SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
HINTS = {  # beginnings of words, and the choice that they speak for
    "syng": "musik",
    "koncert": "musik",
    "spiller": "musik",
    "ballet": "dans",
    "foredrag": "foredrag",
    "værksted": "kursus",
    "bytte": "marked",
    "familie": "families",
    "børn": "children",
    "de små": "children",
    "alle er velkomne": "everyone",
    "voksne": "adults",
}
DATE = re.compile(
    r"\b(\d{1,2})[./](\d{1,2})[./ -]+(\d{4})(?:.{0,30}?\b(\d{1,2})(?:[.:](\d{2}))?\b)?"
)
PRICE = re.compile(r"\b(\d+)\s*kr\b")
PLACE = re.compile(r"\b(?:på|i|ved) ([A-ZÆØÅ]\w+(?: [A-ZÆØÅ]\w+)*)")


def told(field: str, reading: Reading) -> dict[str, str] | None:
    """A quote of the longest section and the value that it gives a field; None for silence."""
    sentences = [one for one in SENTENCE.split(reading.longest) if one.strip("# ")]
    if field in reading.choices:
        return chosen(sentences, reading.choices[field])
    for sentence in sentences:
        value = value_in(field, sentence)
        if value:
            return {"quote": sentence, "value": value}
    return None


def chosen(sentences: Sequence[str], choices: Sequence[str]) -> dict[str, str] | None:
    """The first choice that a sentence names or hints at."""
    for sentence in sentences:
        low = sentence.lower()
        for hint, choice in (*HINTS.items(), *((one, one) for one in choices)):
            if choice in choices and re.search(rf"\b{re.escape(hint)}", low):
                return {"quote": sentence, "value": choice}
    return None


def value_in(field: str, sentence: str) -> str | None:
    """What one sentence says of a field."""
    if field.startswith(("start", "end")) and (match := DATE.search(sentence)):
        day, month, year, hour, minute = match.groups()
        clock = f"T{int(hour):02}:{minute or '00'}" if hour and field.startswith("start") else ""
        return f"{year}-{int(month):02}-{int(day):02}{clock}" if field.startswith("start") else None
    if field.startswith("price") and (match := PRICE.search(sentence)):
        return match[1]
    if field.startswith(("venue", "place")) and (match := PLACE.search(sentence)):
        return match[1]
    if field == "summary" and len(sentence) > 60 and not re.search(r"\d|http", sentence):
        return sentence
    return None
