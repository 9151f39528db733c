"""Plans a practice session: a model says what to do and how, code says when and for how long.

Minutes, order, rests and ids are right by construction. Where no answer of the model can be used, a
plain session without a model is answered and marked `degraded`.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from processors.etyde.arranging import arranged
from processors.etyde.instruments import ANY, instrument_of
from processors.etyde.session import (
    BLOCK_MAX,
    BLOCKS_MAX,
    Block,
    Kind,
    SessionIn,
    blocks_least,
    blocks_most,
    by_lateness,
    faults_of,
    item_faults,
    items_that_fit,
    playing_minutes,
)
from processors.etyde.template_session import goal_of, template_session, title_of
from processors.sdk import (
    AnswerCut,
    AnswerUnfit,
    Context,
    Form,
    Interview,
    Manifest,
    Meta,
    ResourceClass,
    processor,
    said,
)

PROMPT_VERSION = "1"
LANGUAGES = {"da": "Danish", "en": "English"}
COUNTED = re.compile(
    r"\d|\b(?:one|two|three|four|five|six|eight|ten|once|twice|no|without|every|all|"
    r"en|et|én|ét|to|tre|fire|fem|seks|otte|ti|uden|ingen|hver|alle)\b",
    re.IGNORECASE,
)


Tempo = Annotated[int, msgspec.Meta(ge=20, le=300)]
Minutes = Annotated[int, msgspec.Meta(description="its share of the time", ge=1, le=BLOCK_MAX)]


class PlannedBlock(msgspec.Struct, frozen=True):
    """What the model says of one block."""

    kind: Annotated[
        Literal["warm_up", "scales", "technique", "etude", "repertoire", "sight_reading", "aural"],
        msgspec.Meta(description="the kind of an item is that of its block"),
    ]
    item_id: Annotated[str, said("id out of DUE_ITEMS or RECENT")] | None
    title: Annotated[str, said("a few words", most=120)]
    focus: Annotated[str, said("the one thing to listen or look for", most=200)]
    instructions: Annotated[str, said("two or three sentences: what to do, step by step", 20, 800)]
    success_criterion: Annotated[str, said("what can be counted, such as 3 times in a row", 8, 200)]
    tempo_bpm: Annotated[Tempo, msgspec.Meta(description="within TEMPO; null where none")] | None
    minutes: Minutes


class Plan(msgspec.Struct, frozen=True):
    """What the model answers."""

    goal: Annotated[str, said("one sentence: what the student can do afterwards", most=200)]
    blocks: Annotated[
        list[PlannedBlock],
        msgspec.Meta(min_length=1, max_length=BLOCKS_MAX, description="in order"),
    ]
    title: Annotated[str, said("of the session", most=120)]


FORM = Form(
    name="session",
    answer=Plan,
    role=(
        "You are a kind and exact teacher who plans a practice session for a music student. "
        "You choose what is done in each block and say how; rests are added later."
    ),
    rules=(
        "The first block is the only one of kind warm_up.",
        "Every item of DUE_ITEMS has exactly one block, in the order given, with its item_id.",
        "An item_id is one of DUE_ITEMS or RECENT, or null; never make one up.",
        "No two blocks in a row are of the same kind where that can be helped.",
        "As many blocks as BLOCKS says, and minutes that add up to about MINUTES.",
        "A success criterion can be counted: bars, repeats, beats a minute, mistakes.",
        "Ask only for what is in EQUIPMENT.",
        "Write title, goal, focus, instructions and criteria in LANGUAGE.",
    ),
    max_tokens=3_000,
)


class SessionOut(msgspec.Struct):
    """A session whose minutes add up to what was asked for."""

    title: str
    goal: str
    blocks: tuple[Block, ...]
    total_minutes: int
    left_out: tuple[str, ...]  # due items for which there was no time
    degraded: bool  # a plain session, since no answer of the model could be used
    meta: Meta


@processor(
    Manifest(
        name="etyde-session",
        version="1.0.0",
        summary="Plan a practice session to the minute, with what is due.",
        resource_class=ResourceClass.OLLAMA,
        dependencies=("ollama",),
        model="gen",
        attempts_max=3,
        backoff_s=10,
        timeout_s=180,
        prompt_version=PROMPT_VERSION,
    )
)
async def etyde_session(given: SessionIn, context: Context) -> SessionOut:
    """Ask for a plan and arrange it; arrange a plain one where none can be had."""
    interview = Interview(context, PROMPT_VERSION)
    try:
        plan = await interview.ask(FORM, data_of(given), lambda plan: plan_faults(plan, given))
    except (AnswerUnfit, AnswerCut) as error:
        context.log.warning("a plain session instead", error=str(error))
        plan = None
    blocks = template_session(given) if plan is None else arranged(blocks_of(plan), given)
    return SessionOut(
        title=plan.title if plan else title_of(given),
        goal=plan.goal if plan else goal_of(given),
        blocks=tuple(blocks),
        total_minutes=sum(block.minutes for block in blocks),
        left_out=tuple(
            item.item_id for item in by_lateness(given.due_items)[len(items_that_fit(given)) :]
        ),
        degraded=plan is None,
        meta=interview.meta,
    )


def data_of(given: SessionIn) -> dict[str, object]:
    """What the model works on."""
    least, most = blocks_least(given.minutes), blocks_most(given.minutes)
    slowest, fastest = (instrument_of(given.instrument) or ANY).tempo_at(given.level)
    student = {"instrument": given.instrument, "level": given.level, "goals": given.goals}
    due = [
        {
            "item_id": item.item_id,
            "kind": item.kind,
            "title": item.title,
            "last_score": item.last_score,
        }
        for item in items_that_fit(given)
    ]
    return {
        "STUDENT": student,
        "MINUTES": playing_minutes(given.minutes),
        "BLOCKS": f"{max(least, len(due) + 1)} to {most}",
        "TEMPO": f"{slowest} to {fastest} beats a minute",
        "DUE_ITEMS": due,
        "RECENT": given.recent,
        "EQUIPMENT": given.equipment,
        "LANGUAGE": LANGUAGES[given.language],
    }


def blocks_of(plan: Plan) -> list[Block]:
    """The blocks of a plan, not arranged yet."""
    return [
        Block(
            kind=Kind(one.kind),
            title=one.title.strip(),
            minutes=one.minutes,
            item_id=one.item_id,
            tempo_bpm=one.tempo_bpm,
            focus=one.focus.strip(),
            instructions=one.instructions.strip(),
            success_criterion=one.success_criterion.strip(),
        )
        for one in plan.blocks
    ]


def plan_faults(plan: Plan, given: SessionIn) -> list[str]:
    """What is wrong with a plan that arranging cannot put right."""
    blocks = blocks_of(plan)
    faults = [*shape_faults(blocks, given), *item_faults(put_in_order(blocks, given), given)]
    kinds = {item.item_id: item.kind for item in given.due_items}
    slowest, fastest = (instrument_of(given.instrument) or ANY).tempo_at(given.level)
    for block in blocks:
        name = f"block {block.title!r}"
        kind = kinds.get(block.item_id or "", block.kind)
        if kind != block.kind:
            faults.append(f"{name} is about {block.item_id}, so its kind is {kind}")
        if block.tempo_bpm is not None and not slowest <= block.tempo_bpm <= fastest:
            faults.append(f"{name}: tempo_bpm is {slowest} to {fastest} at this level, or null")
        if not COUNTED.search(block.success_criterion):
            faults.append(f"{name}: its success_criterion names nothing that can be counted")
    if not faults:
        faults = faults_of(arranged(blocks, given), given)
    return faults


def shape_faults(blocks: Sequence[Block], given: SessionIn) -> list[str]:
    """Whether there are as many blocks as the time takes, one of them a warm-up."""
    least, most = blocks_least(given.minutes), blocks_most(given.minutes)
    faults = []
    if not least <= len(blocks) <= most:
        faults.append(f"there are {len(blocks)} blocks; the time takes {least} to {most}")
    if sum(block.kind is Kind.WARM_UP for block in blocks) != 1:
        faults.append("exactly one block is of kind warm_up")
    found = [block.item_id for block in blocks if block.item_id is not None]
    twice = sorted({one for one in found if found.count(one) > 1})
    return faults + [f"there are two blocks for item {one!r}" for one in twice]


def put_in_order(blocks: Sequence[Block], given: SessionIn) -> list[Block]:
    """The blocks of due items in their order, since arranging puts them so."""
    place = {item.item_id: index for index, item in enumerate(items_that_fit(given))}
    return sorted(blocks, key=lambda block: place.get(block.item_id or "", len(place)))
