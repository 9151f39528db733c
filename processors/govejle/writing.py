"""What a model is asked for an issue: a plan, sections, and the words around them. Pure."""

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta as Limits

from processors.govejle.issue import Item
from processors.sdk.form import Form

SECTIONS_MAX, SECTION_EVENTS_MAX = 8, 8
NOT_PROSE = re.compile(r"https?://|www\.|@|[<>\[\]{}⟦⟧`#]")


class PlannedSection(msgspec.Struct, frozen=True):
    """A heading, and the events under it."""

    heading: Annotated[str, Limits(description="what these events share", max_length=60)]
    event_ids: Annotated[
        tuple[str, ...],
        Limits(description="ids from EVENTS", min_length=1, max_length=SECTION_EVENTS_MAX),
    ]


class Plan(msgspec.Struct, frozen=True):
    """The sections of an issue."""

    sections: Annotated[tuple[PlannedSection, ...], Limits(min_length=1, max_length=SECTIONS_MAX)]


class Hook(msgspec.Struct, frozen=True):
    """What is said of one event."""

    event_id: Annotated[str, Limits(description="from EVENTS")]
    hook: Annotated[
        str, Limits(description="one sentence that makes one want to go", max_length=160)
    ]


class WrittenSection(msgspec.Struct, frozen=True):
    """The words of a section."""

    intro: Annotated[str, Limits(description="one or two sentences", max_length=300)]
    items: Annotated[tuple[Hook, ...], Limits(min_length=1, max_length=SECTION_EVENTS_MAX)]


class Front(msgspec.Struct, frozen=True):
    """The words around the sections."""

    lead: Annotated[str, Limits(description="two or three sentences of welcome", max_length=500)]
    subject: Annotated[str, Limits(description="the subject of the e-mail", max_length=60)]
    preheader: Annotated[
        str, Limits(description="what the list of mails shows behind it", max_length=90)
    ]


ROLE = (
    "You write a newsletter about what is on in Vejle, Denmark, for the readers that AUDIENCE "
    "names."
)
PROSE = (
    "Write in the language that LANGUAGE names, in the tone that TONE names.",
    "Plain text only: no markup, no links, no addresses, no emoji.",
    "Facts are printed beside your words. Write no dates, times, prices or numbers, and nothing "
    "that EVENTS does not say.",
)
PLAN = Form(
    name="plan",
    answer=Plan,
    role=f"{ROLE} You arrange its events in sections.",
    rules=(
        "Every event of EVENTS stands in exactly one section, by its id.",
        f"Two to five sections where there are enough events; at most {SECTION_EVENTS_MAX} in one.",
        "Where HEADINGS is there, use those and no others. Else write short ones in the language "
        "that LANGUAGE names, without numbers.",
    ),
    max_tokens=2_000,
)
SECTION = Form(
    name="section",
    answer=WrittenSection,
    role=f"{ROLE} You write one section, whose heading is HEADING.",
    rules=("Every event of EVENTS gets one hook, by its event_id, in the same order.", *PROSE),
    max_tokens=1_500,
)
FRONT = Form(
    name="front",
    answer=Front,
    role=f"{ROLE} Its sections are written; DIGEST tells what is in them.",
    rules=("Name one or two of the events in the subject or the lead.", *PROSE),
    max_tokens=600,
)


def plan_check(items: Sequence[Item], headings: Sequence[str]) -> Callable[[Plan], list[str]]:
    """Every event once, none but those of the input, and the headings that were asked for."""
    ids = [item.event_id for item in items]

    def check(plan: Plan) -> list[str]:
        planned = [one for section in plan.sections for one in section.event_ids]
        faults = [f"{one} is no id of EVENTS" for one in planned if one not in ids]
        faults += [f"{one} stands twice" for one in ids if planned.count(one) > 1]
        faults += [f"{one} is left out" for one in ids if one not in planned]
        named = [section.heading for section in plan.sections]
        faults += [f"{one!r} heads two sections" for one in {*named} if named.count(one) > 1]
        for section in plan.sections:
            if headings and section.heading not in headings:
                faults.append(f"{section.heading!r} is none of HEADINGS")
            if not headings:
                faults += prose_faults("heading", section.heading, set())
        return faults

    return check


def section_check(items: Sequence[Item]) -> Callable[[WrittenSection], list[str]]:
    """One hook for each event, and no number that the events do not have."""
    ids = [item.event_id for item in items]
    known = numbers(*(f"{item.title} {item.summary}" for item in items))

    def check(written: WrittenSection) -> list[str]:
        told = [one.event_id for one in written.items]
        faults = [f"{one} is no id of EVENTS" for one in told if one not in ids]
        faults += [f"{one} has {told.count(one)} hooks" for one in ids if told.count(one) != 1]
        faults += prose_faults("intro", written.intro, known)
        for one in written.items:
            faults += prose_faults(f"hook of {one.event_id}", one.hook, known)
        return faults

    return check


def front_check(digest: Sequence[dict[str, Any]]) -> Callable[[Front], list[str]]:
    """Words only, and no number that the digest does not have."""
    known = numbers(msgspec.json.encode(digest).decode())

    def check(front: Front) -> list[str]:
        texts = msgspec.structs.asdict(front)
        return [fault for name in texts for fault in prose_faults(name, texts[name], known)]

    return check


def prose_faults(where: str, text: str, known: set[str]) -> list[str]:
    """What is wrong with a piece of the model's prose."""
    if not text.strip():
        return [f"{where} is empty"]
    faults = [f"{where} has {match[0]!r}" for match in NOT_PROSE.finditer(text)]
    invented = sorted(numbers(text) - known)
    return faults + ([f"{where} has numbers of its own: {', '.join(invented)}"] if invented else [])


def numbers(*texts: str) -> set[str]:
    """The numbers that stand in the texts."""
    return {number for text in texts for number in re.findall(r"\d+", text)}
