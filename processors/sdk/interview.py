"""Asking a model to fill in forms: strictly read, checked by code, mended once, tried once more."""

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import msgspec

from processors.dependencies.asking import (
    Answer,
    Ask,
    Degenerate,
    Ollama,
    Purpose,
    Turn,
    Usage,
    seed_of,
)
from processors.sdk.context import Context
from processors.sdk.form import Check, Data, Form, correction
from streams.errors import Rejected, Retry

T = TypeVar("T", bound=msgspec.Struct)
Turns = tuple[Turn, ...]

STEADY: Mapping[str, Any] = {"top_k": 1}
ANEW: Mapping[str, Any] = {"top_k": 20}
ANEW_TEMPERATURE = 0.4  # at 0 another seed gives the same answer
QUOTE_MAX, LOGGED_MAX = 300, 4_000


class AnswerCut(Rejected):
    """The model's answer reached its length limit: less must be asked for at a time."""

    code = "answer_cut"


class AnswerUnfit(Retry):
    """The model's answer cannot be used, nor could the one that it was asked to mend."""

    code = "answer_unfit"


class Meta(msgspec.Struct, frozen=True):
    """How a result came about: what it takes to get it again, and what it cost."""

    model: str = ""  # Ollama's tag; empty when no model was needed
    digest: str = ""  # of the model's weights and template
    prompt_version: str = ""
    seed: int = 0
    options: dict[str, Any] = {}
    calls: int = 0
    repairs: int = 0  # answers that were sent back
    refusals: int = 0  # answers that were not used
    usage: Usage = Usage()


class Tried(msgspec.Struct, Generic[T], frozen=True):
    """An answer: its value, or what is wrong with it; without a text when there was none."""

    text: str
    value: T | None
    faults: tuple[str, ...] = ()


class Interview:
    """One attempt's questions to the model of its lane; `meta` is for its result."""

    def __init__(self, context: Context, prompt_version: str) -> None:
        """The context must have the dependency `ollama`."""
        self._context = context
        self._ollama: Ollama = context.ollama
        seed = seed_of(context.job_id, context.attempt)
        self.meta = Meta(prompt_version=prompt_version, seed=seed)

    async def ask(
        self,
        form: Form[T],
        data: Data,
        check: Check[T] | None = None,
        purpose: Purpose = Purpose.QUESTION,
    ) -> T:
        """The form filled in, of its type and without a fault that `check` finds.

        A faulty answer is sent back once with its faults; then the form is asked anew once, with
        another seed. Raises AnswerUnfit after that, with the last answer in the attempt's log,
        and AnswerCut for an answer that was cut off: split the data and ask again. A caller that
        sends parts back by itself says so with `purpose`.
        """
        turns = form.turns(data)
        first = last = await self._try(form, turns, purpose, check)
        if first.value is None and first.text:
            sent_back = _sent_back(turns, first)
            try:
                last = await self._try(form, sent_back, Purpose.REPAIR, check)
            except Rejected as error:  # with all that went before it may be too long
                self._context.log.warning("no repair", form=form.name, error=str(error))
        if last.value is None:
            last = await self._try(form, turns, Purpose.ANEW, check)
        if last.value is None:
            raise AnswerUnfit(f"{form.name}: {'; '.join(last.faults)[:QUOTE_MAX]}")
        return last.value

    async def _try(
        self, form: Form[T], turns: Turns, purpose: Purpose, check: Check[T] | None
    ) -> "Tried[T]":
        """One answer, read and checked."""
        try:
            text = await self._answer(form, turns, purpose)
        except Degenerate as error:
            return Tried("", None, (str(error),))
        value, faults = form.read(text, check)
        if value is not None and not faults:
            return Tried(text, value)
        self.meta = msgspec.structs.replace(self.meta, refusals=self.meta.refusals + 1)
        self._context.log.warning(
            "answer not used",
            form=form.name,
            faults="; ".join(faults)[:LOGGED_MAX],
            answer=text[:LOGGED_MAX],
        )
        return Tried(text, None, faults)

    async def _answer(self, form: Form[T], turns: Turns, purpose: Purpose) -> str:
        anew = purpose is Purpose.ANEW
        question = Ask(
            turns=turns,
            max_tokens=form.max_tokens,
            temperature=ANEW_TEMPERATURE if anew else 0.0,
            seed=self.meta.seed + 1 if anew else self.meta.seed,
            format=form.format,
            options=ANEW if anew else STEADY,
            purpose=purpose,
        )
        answer = await self._ollama.ask(question)
        self._count(answer, purpose)
        if answer.done_reason == "length":
            raise AnswerCut(f"{form.name}: the answer was cut off at {form.max_tokens} tokens")
        return answer.text

    def _count(self, answer: Answer, purpose: Purpose) -> None:
        meta = self.meta
        first = not meta.calls
        self.meta = msgspec.structs.replace(
            meta,
            model=answer.model,
            digest=answer.digest,
            options=answer.options if first else meta.options,
            calls=meta.calls + 1,
            repairs=meta.repairs + (purpose is Purpose.REPAIR),
            usage=meta.usage + answer.usage,
        )


def _sent_back(turns: Turns, tried: Tried[T]) -> Turns:
    return (*turns, Turn("assistant", tried.text), Turn("user", correction(tried.faults)))
