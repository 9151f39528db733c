"""Stand-ins for the processors of `govejle-weekly` that ask a model: the right class and model
alias, made-up answers. Each attempt writes a line to the ledger that the environment names."""

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec

from processors.sdk import Context, Manifest, ResourceClass, processor

WORK_S = 0.02


class Extracted(msgspec.Struct):
    """As govejle-enrichment's result, as far as the later stages use it."""

    event_id: str
    event: dict[str, Any]
    text_md: str = ""


class TranslationIn(msgspec.Struct, forbid_unknown_fields=True):
    event_id: str
    source: str
    target: str
    fields: dict[str, str | None]


class Translation(msgspec.Struct):
    event_id: str
    fields: dict[str, str | None]


class NewsletterIn(msgspec.Struct, forbid_unknown_fields=True):
    issue_date: str
    language: str
    audience: str
    events: list[Extracted | None]
    translations: list[Translation | None]


class Newsletter(msgspec.Struct):
    subject: str
    text: str
    used_event_ids: list[str]


def manifest(name: str, model: str) -> Manifest:
    return Manifest(
        name=name,
        version="0",
        summary="A stand-in.",
        resource_class=ResourceClass.OLLAMA,
        model=model,
        backoff_s=0.1,
    )


@processor(manifest("govejle-extraction", "extract"))
async def extraction(given: Extracted, context: Context) -> Extracted:
    await _work(context, given.event_id)
    return Extracted(given.event_id, {**given.event, "audience": "families"}, given.text_md)


@processor(manifest("govejle-translation", "translate"))
async def translation(given: TranslationIn, context: Context) -> Translation:
    await _work(context, given.event_id)
    fields = {name: text and f"[{given.target}] {text}" for name, text in given.fields.items()}
    return Translation(given.event_id, fields)


@processor(manifest("govejle-newsletter", "gen"))
async def newsletter(given: NewsletterIn, context: Context) -> Newsletter:
    await _work(context, given.issue_date)
    found = [one for one in given.translations if one is not None]
    lines = [f"- {one.fields['title']}" for one in found]
    subject = f"Vejle, {given.issue_date}"
    return Newsletter(subject, "\n".join(lines), [one.event_id for one in found])


async def _work(context: Context, what: str) -> None:
    await asyncio.sleep(WORK_S)
    await asyncio.to_thread(_note, f"{context.job_id} {context.attempt} {what}\n")


def _note(line: str) -> None:
    with Path(os.environ["STAND_INS_LEDGER"]).open("a") as file:
        file.write(line)
