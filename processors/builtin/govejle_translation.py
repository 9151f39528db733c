"""Translates an event's texts so that what must not change does not.

A model sees segments in which tags, addresses, prices, times, dates and names are placeholders. A
segment that loses one, or a number, or is no translation, is asked for again, alone.
"""

import html
from typing import Annotated, Literal

import msgspec
from msgspec import Meta as Limits

from processors.govejle.calendars import LANGUAGES
from processors.govejle.masking import Masked, Masker
from processors.govejle.segments import Piece, joined, pieces_of
from processors.govejle.translating import faults_of, in_batches
from processors.sdk import (
    AnswerCut,
    AnswerUnfit,
    Context,
    Example,
    Form,
    Interview,
    Manifest,
    Meta,
    Purpose,
    ResourceClass,
    TooLarge,
    processor,
)

PROMPT_VERSION = "1"
SEGMENTS_MAX = 400  # of a job
SEGMENT_CHARACTERS_MAX = 12_000  # more than a model reads at a time
BATCH_ITEMS, BATCH_BYTES = 12, 3_000
ROUNDS = (Purpose.QUESTION, Purpose.REPAIR, Purpose.ANEW)

Text = Annotated[str, Limits(max_length=100_000)]
Name = Annotated[str, Limits(max_length=200)]


class TranslationIn(msgspec.Struct, forbid_unknown_fields=True):
    """The texts of an event, by field; one whose name ends with `_html` is HTML."""

    event_id: Annotated[str, Limits(min_length=1, max_length=128)]
    fields: Annotated[dict[str, Text | None], Limits(max_length=20)]
    source: Literal["da"] = "da"
    target: Literal["en", "de", "da"] = "en"
    glossary: dict[Name, Name] = {}  # words and what they are to become
    protect: tuple[Name, ...] | None = None  # names that stay as they are


class TranslationOut(msgspec.Struct):
    """The texts in the target language. `protected_ok`: nothing that was protected has changed."""

    event_id: str
    target: str
    fields: dict[str, str | None]
    protected_ok: bool
    warnings: tuple[str, ...]  # names each segment that stayed in the source language
    meta: Meta


class Segment(msgspec.Struct, frozen=True):
    """One translated segment."""

    id: Annotated[str, Limits(description="as in SEGMENTS")]
    text: Annotated[str, Limits(description="the translation, with the same placeholders")]


class Segments(msgspec.Struct, frozen=True):
    """What the model answers."""

    segments: Annotated[tuple[Segment, ...], Limits(max_length=BATCH_ITEMS)]


FORM = Form(
    name="segments",
    answer=Segments,
    role=(
        "You translate announcements of events in Vejle, Denmark, from the language that SOURCE "
        "names into the one that TARGET names, for readers who do not know Denmark."
    ),
    rules=(
        "Translate every segment of SEGMENTS and answer with the same ids, in the same order.",
        "⟦1⟧, ⟦2⟧ and so on stand for names, dates, times, prices and markup. Keep each exactly "
        "once, unchanged, where the translated sentence needs it.",
        "Keep every digit. Add nothing and leave nothing out.",
        "Write natural, plain language; »kl.« before a time becomes what the target language says.",
        "REJECTED, where it is there, holds translations that could not be used and what was wrong "
        "with them: do better.",
    ),
    examples=(
        Example(
            {
                "SOURCE": "Danish",
                "TARGET": "English",
                "SEGMENTS": [{"id": "s1", "text": "⟦1⟧ kl. ⟦2⟧ spiller ⟦3⟧⟦4⟧⟦5⟧ på ⟦6⟧."}],
            },
            Segments((Segment("s1", "⟦1⟧ at ⟦2⟧, ⟦3⟧⟦4⟧⟦5⟧ is playing at ⟦6⟧."),)),
        ),
    ),
    max_tokens=2_000,
)


@processor(
    Manifest(
        name="govejle-translation",
        version="1.0.0",
        summary="Translate an event's texts; tags, links, prices, times, dates and names survive.",
        resource_class=ResourceClass.OLLAMA,
        dependencies=("ollama",),
        model="translate",
        attempts_max=4,
        backoff_s=15,
        timeout_s=300,
        cache_s=86_400,  # the pages of one week are for a good part those of the week before
        prompt_version=PROMPT_VERSION,
    )
)
async def govejle_translation(given: TranslationIn, context: Context) -> TranslationOut:
    """Mask, translate, check, ask again for what is wrong, restore."""
    work = Work(given, context)
    if given.target != given.source:
        await work.translate()
    return TranslationOut(
        event_id=given.event_id,
        target=given.target,
        fields=work.fields() if given.target != given.source else given.fields,
        protected_ok=not work.rejected,
        warnings=work.warnings(),
        meta=work.interview.meta,
    )


class Work:
    """One job's segments, on their way."""

    def __init__(self, given: TranslationIn, context: Context) -> None:
        """Cut and mask. Raises TooLarge for more, or longer, segments than a job may have."""
        self.interview = Interview(context, PROMPT_VERSION)
        self.rejected: dict[str, tuple[str, str]] = {}  # the last answer, and what is wrong with it
        self._given = given
        self._context = context
        self._done: dict[str, str] = {}
        self._masked: dict[str, Masked] = {}
        self._html: set[str] = set()  # ids of segments that are HTML
        self._parts: dict[str, tuple[list[Piece], list[str]]] = {}
        self._cut(Masker(given.target, given.protect or (), given.glossary))
        if len(self._masked) > SEGMENTS_MAX:
            raise TooLarge(f"the texts have {len(self._masked)} segments, at most {SEGMENTS_MAX}")

    async def translate(self) -> None:
        """Fill in every segment. Raises AnswerUnfit when not one came out right."""
        wanted = pending = [one for one, masked in self._masked.items() if masked.has_words]
        for purpose in ROUNDS:
            for batch in in_batches(self._masked, pending, BATCH_ITEMS, BATCH_BYTES):
                self._context.progress(len(self._done) / len(wanted), purpose)
                await self._ask(batch, purpose)
            pending = [one for one in pending if one not in self._done]
            if not pending:
                return
        if pending == wanted:
            raise AnswerUnfit(f"no segment came out right: {self.rejected[pending[0]][1]}")

    def fields(self) -> dict[str, str | None]:
        """The fields with what was translated; the rest as it was."""
        texts = {
            name: joined(pieces, [*map(self._text, ids)])
            for name, (pieces, ids) in self._parts.items()
        }
        return {name: texts.get(name) for name in self._given.fields}

    def warnings(self) -> tuple[str, ...]:
        """Each segment that stayed as it was, with the reason."""
        return tuple(
            f"{name}: not translated, {self.rejected[one][1]}: "
            f"{self._masked[one].original()[:60]!r}"
            for name, (_, ids) in self._parts.items()
            for one in ids
            if one in self.rejected
        )

    def _cut(self, masker: Masker) -> None:
        ids: dict[tuple[str, bool], str] = {}
        for name, text in self._given.fields.items():
            is_html = name.endswith("_html")
            pieces = pieces_of(text or "", is_html=is_html)
            segments = [(piece.text, is_html) for piece in pieces if piece.is_segment]
            for one in segments:
                if len(one[0]) > SEGMENT_CHARACTERS_MAX:
                    raise TooLarge(
                        f"{name}: a segment has {len(one[0])} characters, "
                        f"at most {SEGMENT_CHARACTERS_MAX}"
                    )
                if one not in ids:  # what stands there twice is translated once
                    ids[one] = f"s{len(ids) + 1}"
                    self._masked[ids[one]] = masker.mask(one[0], is_html=is_html)
                    self._html |= {ids[one]} if is_html else set()
            if text is not None:
                self._parts[name] = (pieces, [ids[one] for one in segments])

    async def _ask(self, batch: list[str], purpose: Purpose) -> None:
        """One call; two with half of the batch each when its answer was cut off."""
        try:
            answer = await self.interview.ask(FORM, self._data(batch), purpose=purpose)
        except AnswerCut as error:
            if len(batch) == 1:
                self.rejected[batch[0]] = ("", str(error))
                return
            middle = len(batch) // 2
            await self._ask(batch[:middle], purpose)
            await self._ask(batch[middle:], purpose)
            return
        said = {segment.id: segment.text.strip() for segment in answer.segments}
        for one in batch:
            text = said.get(one, "")
            if faults := faults_of(self._masked[one], text):
                self.rejected[one] = (text, "; ".join(faults))
            else:
                self._done[one] = text
                self.rejected.pop(one, None)

    def _data(self, batch: list[str]) -> dict[str, object]:
        rejected = [
            dict(zip(("id", "text", "fault"), (one, *self.rejected[one]), strict=True))
            for one in batch
            if one in self.rejected
        ]
        return {
            "SOURCE": LANGUAGES[self._given.source],
            "TARGET": LANGUAGES[self._given.target],
            "SEGMENTS": [{"id": one, "text": self._masked[one].text} for one in batch],
            **({"REJECTED": rejected} if rejected else {}),
        }

    def _text(self, one: str) -> str:
        masked = self._masked[one]
        if one in self._done:
            said = self._done[one]
            return masked.restored(html.escape(said, quote=False) if one in self._html else said)
        return masked.original() if masked.has_words else masked.restored(masked.text)
