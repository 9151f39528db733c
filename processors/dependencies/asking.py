"""The words in which a processor asks a model, free of any client library."""

import zlib
from collections.abc import AsyncIterator, Mapping
from enum import StrEnum
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec

from streams.errors import Retry
from streams.usage import Usage

__all__ = ["Answer", "Answering", "Ask", "Ollama", "Purpose", "Turn", "Usage", "seed_of"]


class Turn(msgspec.Struct, frozen=True):
    """One thing that was said: `role` is system, user or assistant."""

    role: str
    content: str


class Purpose(StrEnum):
    """Why a model is asked: of one job, the first kind is the work, the others are its price."""

    QUESTION = "question"
    REPAIR = "repair"  # an answer is sent back with its faults
    ANEW = "anew"  # the same question after answers that could not be used


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One question to a model. `Ask.of` makes the usual one."""

    turns: tuple[Turn, ...]
    max_tokens: int = 1_024  # an answer that reaches it ends with `done_reason` length
    temperature: float = 0.8
    seed: int | None = None  # None: one made from job and attempt
    format: Mapping[str, Any] | str | None = None  # a JSON Schema, or "json"
    think: bool | None = None  # None: as the model does by itself, but not before JSON
    options: Mapping[str, Any] = {}  # other run-time options of Ollama's, such as top_k
    purpose: Purpose = Purpose.QUESTION

    @classmethod
    def of(cls, prompt: str, system: str = "", **fields: Any) -> Self:
        """One prompt, with a system text where there is one."""
        spoken = [Turn("system", system)] if system else []
        return cls(turns=(*spoken, Turn("user", prompt)), **fields)


class Answer(msgspec.Struct, frozen=True):
    """A whole answer. `done_reason` is stop, or length when it was cut."""

    text: str
    thinking: str
    model: str
    done_reason: str
    usage: Usage
    digest: str = ""  # of the model; changes when another one is pulled under its tag
    options: dict[str, Any] = {}  # all that were sent, the seed among them


class Degenerate(Retry):
    """The model went round in circles or wrote what is no protocol: discard it, try again."""

    code = "ollama_degenerate"


class Answering(Protocol):
    """An answer on its way: enter it, iterate over its text, then read `answer`.

    Leaving early stops the model. While it is entered the host works for nobody else.
    """

    async def __aenter__(self) -> Self:
        """Wait for the host and load the model; neither counts against the job's time."""
        ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection and let the next one in."""
        ...

    def __aiter__(self) -> AsyncIterator[str]:
        """The text, piece by piece."""
        ...

    @property
    def answer(self) -> Answer:
        """The whole answer; only after the iteration has come to its end."""
        ...


class Ollama(Protocol):
    """The dependency `ollama`: the model of the processor's manifest, for one attempt."""

    @property
    def model(self) -> str:
        """The alias that the manifest names."""
        ...

    def stream(self, ask: Ask) -> Answering:
        """Ask, and get the answer while it is made.

        Raises, on entering or iterating, Rejected for what can never succeed (no such model, a
        prompt that would be truncated, a bad schema) and Retry for the rest.
        """
        ...

    async def ask(self, ask: Ask) -> Answer:
        """Ask, and get the whole answer. Raises as `stream` does."""
        ...


def seed_of(job_id: str, attempt: int) -> int:
    """The seed of an attempt: the same whenever it is made, and another than that of the next."""
    return zlib.crc32(f"{job_id}/{attempt}".encode()) & 0x7FFF_FFFF
