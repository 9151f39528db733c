"""The words of a simulated model: phrases for usual fields, and a translation by a phrase book."""

import re
from collections.abc import Mapping
from typing import Any

from ops.sim_ollama.phrasebook import ENGLISH, FILLERS

WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*|⟦\d+⟧")
UNTITLED = {"en": "the week ahead", "da": "ugen, der kommer", "de": "die kommende Woche"}
PHRASES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "en": {
        "hook": (
            "{title}: a good reason to leave the sofa.",
            "Bring somebody along to {title}; it is better in company.",
            "{title} is made for a dark season that wants some light.",
            "Come early to {title}, and stay for the talk afterwards.",
        ),
        "heading": ("On stage", "For curious minds", "Hands on", "Out and about", "Closer to home"),
        "intro": (
            "Here is what we would not want to miss, with a little for everybody.",
            "Near, unhurried and worth the trip, whatever the weather does.",
        ),
        "lead": (
            "Vejle does not go into hibernation. We have read the programmes so that you need not, "
            "and {title} is where we would begin.",
        ),
        "subject": ("What is on in Vejle: {title} and more", "What is on in Vejle"),
        "preheader": ("Our pick for the days ahead, from stage to workshop.",),
    },
    "da": {
        "hook": (
            "{title}: en god grund til at rejse sig fra sofaen.",
            "Tag nogen med til {title}; det er bedst i selskab.",
            "{title} er lavet til en mørk tid, der trænger til lys.",
        ),
        "heading": ("På scenen", "For nysgerrige", "Selv i gang", "Ud af huset", "Tæt på"),
        "intro": ("Her er, hvad vi nødigt ville gå glip af, lidt til enhver smag.",),
        "lead": (
            "Vejle går ikke i hi. Vi har læst programmerne, så du slipper, og vi ville begynde "
            "med {title}.",
        ),
        "subject": ("Det sker i Vejle: {title} med mere", "Det sker i Vejle"),
        "preheader": ("Vores udvalg for de kommende dage, fra scene til værksted.",),
    },
    "de": {
        "hook": ("{title}: ein guter Grund, das Sofa zu verlassen.",),
        "heading": ("Auf der Bühne", "Für Neugierige", "Zum Mitmachen", "Unterwegs", "Ganz nah"),
        "intro": ("Das möchten wir nicht verpassen, und für jeden ist etwas dabei.",),
        "lead": ("Vejle hält keinen Winterschlaf. Wir würden mit {title} anfangen.",),
        "subject": ("Was ist los in Vejle: {title} und mehr", "Was ist los in Vejle"),
        "preheader": ("Unsere Auswahl für die nächsten Tage.",),
    },
}


def phrase(field: str, language: str, data: Mapping[str, Any], turn: int) -> str | None:
    """A phrase for a field of that name, about the title in the data; None for other fields.

    No two turns in a row get the same.
    """
    known = PHRASES.get(language, {}).get(field)
    if known is None:
        return None
    title = re.sub(r"[<>\[\]{}⟦⟧`#@]", "", str(data.get("title") or UNTITLED[language]))
    return known[turn % len(known)].replace("{title}", title)


def fitted(text: str, most: int) -> str:
    """`text` in at most so many characters, whole words where it can be."""
    if len(text) <= most:
        return text
    return text[:most].rsplit(" ", 1)[0].rstrip(" ,:;–-") or text[:most]


def translated(text: str, language: str) -> str:
    """Danish in other words, with numbers, marks and placeholders where they were."""
    if language not in FILLERS:
        return text
    known = ENGLISH if language == "en" else {}

    def said(match: re.Match[str]) -> str:
        word = match[0]
        low = word.lower()
        if word[0] == "⟦" or (word[0].isupper() and low not in known):  # a name, most likely
            return word
        other = known.get(low) or _made_up(low, language)
        return other[:1].upper() + other[1:] if word[0].isupper() else other

    plain = WORD.sub(said, re.sub(r"\bkl\.", "kl", text))
    return re.sub(r" {2,}", " ", plain).strip()


def _made_up(word: str, language: str) -> str:
    """A word for one that the phrase book lacks: always the same."""
    if len(word) < 4 and language == "en":
        return word
    choices = FILLERS[language]
    return choices[sum(word.encode()) % len(choices)]
