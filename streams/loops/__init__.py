"""Chores: what any worker does every few seconds for all: bounded, repeatable."""

from typing import Protocol


class Chore(Protocol):
    """Background work with a name, a pace in seconds, and one bounded step."""

    name: str
    every_s: float

    async def tick(self) -> None:
        """Do one step. May raise errors.Unavailable: it is tried again at the next tick."""
        ...
