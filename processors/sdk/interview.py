"""Asking a model to fill in forms: strictly read, checked by code, mended once, tried once more."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from processors.dependencies.asking import Answer, Ask, Ollama, Purpose, Turn, Usage, seed_of
from processors.sdk.context import Context
from processors.sdk.form import Check, Data, Form, correction
from streams.errors import Rejected, Retry

T = TypeVar("T", bound=msgspec.Struct)

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
        first = await self._answer(form, turns, purpose)
        value, faults = self._read(form, first, check)
        if value is not None and not faults:
            return value
        for again in (Purpose.REPAIR, Purpose.ANEW):
            told = turns if again is Purpose.ANEW else _sent_back(turns, first, faults)
            try:
                answer = await self._answer(form, told, again)
            except Rejected as error:  # with all that went before it may be too long
                if again is Purpose.ANEW:
                    raise
                self._context.log.warning("no repair", form=form.name, error=str(error))
                continue
            value, faults = self._read(form, answer, check)
            if value is not None and not faults:
                return value
        raise AnswerUnfit(f"{form.name}: {'; '.join(faults)[:QUOTE_MAX]}")

    async def _answer(self, form: Form[T], turns: tuple[Turn, ...], purpose: Purpose) -> Answer:
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
        return answer

    def _read(
        self, form: Form[T], answer: Answer, check: Check[T] | None
    ) -> tuple[T | None, tuple[str, ...]]:
        value, faults = form.read(answer.text, check)
        if value is None or faults:
            self.meta = msgspec.structs.replace(self.meta, refusals=self.meta.refusals + 1)
            self._context.log.warning(
                "answer not used",
                form=form.name,
                faults="; ".join(faults)[:LOGGED_MAX],
                answer=answer.text[:LOGGED_MAX],
            )
        return value, faults

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


def _sent_back(
    turns: tuple[Turn, ...], answer: Answer, faults: tuple[str, ...]
) -> tuple[Turn, ...]:
    return (*turns, Turn("assistant", answer.text), Turn("user", correction(faults)))
