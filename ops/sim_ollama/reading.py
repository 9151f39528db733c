"""What a simulated model takes in of a prompt: named sections, limits of texts, the language.

Sections are `<<<NAME` … `NAME>>>`, as `processors.sdk.form` writes them; limits stand in the list
of fields that it makes. A prompt without them is read as one that says nothing.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

SECTION = re.compile(r"<<<(\w+)\n(.*?)\n\1>>>", re.DOTALL)
LIMIT = re.compile(r"^\s*- (\w+): text of (?:at most |\d+ to )(\d+) characters", re.MULTILINE)
FIELD = re.compile(r"^\s*- (\w+): (.+)$", re.MULTILINE)
NAME = re.compile(r"\b[A-Z][A-Z_]{2,}\b")
CHOICE = re.compile(r"\b(\w+): one of ([\w, æøåÆØÅ]+)")
LANGUAGES = {"danish": "da", "english": "en", "german": "de"}


class Reading(msgspec.Struct, frozen=True):
    """A prompt, taken in."""

    sections: Mapping[str, Any] = {}  # by name; decoded where it is JSON
    limits: Mapping[str, int] = {}  # characters of a text, by field
    choices: Mapping[str, Sequence[str]] = {}  # what a field may say, where the words tell it
    sources: Mapping[str, Sequence[str]] = {}  # sections that the words on a field name
    language: str = ""  # to be written in

    @classmethod
    def of(cls, messages: Sequence[tuple[str, str]]) -> "Reading":
        """Read the messages; sections of examples, in the system text, are none of the data."""
        system = "\n".join(text for role, text in messages if role == "system")
        user = "\n".join(text for role, text in messages if role == "user")
        sections = {name: _decoded(text) for name, text in SECTION.findall(user)}
        wanted = str(sections.get("TARGET") or sections.get("LANGUAGE") or "").lower()
        choices = {
            name: [one.strip() for one in listed.split(",")]
            for name, listed in CHOICE.findall(system)
        }
        limits = {name: int(most) for name, most in LIMIT.findall(system)}
        sources = {
            field: [name for name in NAME.findall(words) if name in sections]
            for field, words in FIELD.findall(system)
        }
        return cls(sections, limits, choices, sources, LANGUAGES.get(wanted, wanted))

    def records(self) -> Iterator[list[dict[str, Any]]]:
        """Every section that is a list of objects."""
        for section in self.sections.values():
            if isinstance(section, list) and section and all(isinstance(o, dict) for o in section):
                yield section

    def words(self) -> Iterator[list[str]]:
        """Every section that is a list of texts."""
        for section in self.sections.values():
            if isinstance(section, list) and section and all(isinstance(o, str) for o in section):
                yield section

    def values(self, name: str) -> list[str]:
        """What the objects of the data have under a name, in order, each once."""
        found = (str(one[name]) for records in self.records() for one in records if name in one)
        return list(dict.fromkeys(found))

    def lines(self, field: str) -> list[str]:
        """The lines of the texts that a field is to be taken from; else those of the longest."""
        texts = [
            t for name in self.sources.get(field, ()) if isinstance(t := self.sections[name], str)
        ]
        found = [line.strip() for text in texts or [self.longest] for line in text.splitlines()]
        return [line for line in found if line]

    @property
    def longest(self) -> str:
        """The longest text among the sections."""
        return max((s for s in self.sections.values() if isinstance(s, str)), key=len, default="")


def _decoded(text: str) -> Any:
    if not text.startswith(("[", "{")):
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
