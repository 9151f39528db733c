"""What a check says: how bad it is, what is the case, and what to do about it."""

from enum import StrEnum

import msgspec


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"  # it works; look at it this week. Also what could not be checked
    PROBLEM = "problem"  # jobs can be lost or stand still


class Finding(msgspec.Struct, frozen=True):
    """One line of the doctor's report. `remedy` is one sentence, empty where all is well."""

    check: str
    level: Level
    what: str
    remedy: str = ""


def fine(check: str, what: str) -> Finding:
    """All is well."""
    return Finding(check, Level.OK, what)


def warning(check: str, what: str, remedy: str) -> Finding:
    """Not as it should be."""
    return Finding(check, Level.WARNING, what, remedy)


def problem(check: str, what: str, remedy: str) -> Finding:
    """Jobs can be lost, or stand still."""
    return Finding(check, Level.PROBLEM, what, remedy)


def listed(names: object, at_most: int = 5) -> str:
    """Some names for a sentence; many are counted."""
    every = sorted(map(str, names))  # type: ignore[call-overload]  # any iterable of names
    shown = ", ".join(every[:at_most])
    return shown if len(every) <= at_most else f"{shown} and {len(every) - at_most} more"
