"""What a practice session is made of, and what must hold of it."""

from collections.abc import Collection, Sequence
from datetime import date
from enum import StrEnum
from typing import Annotated, Literal

import msgspec

BLOCK_MAX = 25  # minutes without a break in what is done
SPAN_MAX = 45  # minutes of playing without a rest
REST = 5  # minutes, for every SPAN_MAX minutes of a session
BLOCK_GOOD = 4  # minutes below which a due item is not worth beginning
BLOCKS_MAX = 16

Language = Literal["da", "en"]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
ItemId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class Kind(StrEnum):
    """What is done in a block."""

    WARM_UP = "warm_up"
    SCALES = "scales"
    TECHNIQUE = "technique"
    ETUDE = "etude"
    REPERTOIRE = "repertoire"
    SIGHT_READING = "sight_reading"
    AURAL = "aural"
    REST = "rest"


ItemKind = Literal["scales", "technique", "etude", "repertoire", "sight_reading", "aural"]


class DueItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that the student should practise again."""

    item_id: ItemId
    title: Name
    kind: ItemKind
    due: date
    last_score: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None


class RecentItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that the student has practised lately."""

    item_id: ItemId
    date: date


class SessionIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who practises, for how long, and what waits to be practised."""

    student_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    instrument: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    level: Annotated[int, msgspec.Meta(ge=1, le=10)]
    minutes: Annotated[int, msgspec.Meta(ge=5, le=180)]
    goals: Annotated[tuple[Name, ...], msgspec.Meta(max_length=10)] = ()
    due_items: Annotated[tuple[DueItem, ...], msgspec.Meta(max_length=60)] = ()
    recent: Annotated[tuple[RecentItem, ...], msgspec.Meta(max_length=100)] = ()
    language: Language = "da"
    equipment: Annotated[tuple[Name, ...], msgspec.Meta(max_length=20)] = ()


class Block(msgspec.Struct, frozen=True):
    """A stretch of a session in which one thing is done."""

    kind: Kind
    title: str
    minutes: int
    item_id: str | None
    tempo_bpm: int | None
    focus: str
    instructions: str
    success_criterion: str


def by_lateness(items: Sequence[DueItem]) -> list[DueItem]:
    """The longest overdue first; of one day the one that went worst; of one id the first."""
    ordered = sorted(items, key=lambda one: (one.due, one.last_score or 0.0, one.item_id))
    first: dict[str, DueItem] = {}
    for item in ordered:
        first.setdefault(item.item_id, item)
    return list(first.values())


def rest_minutes(minutes: int) -> int:
    """How long a session of that length is to rest."""
    return REST * (minutes // SPAN_MAX)


def playing_minutes(minutes: int) -> int:
    """What is left to play."""
    return minutes - rest_minutes(minutes)


def blocks_least(minutes: int) -> int:
    """So many blocks are needed, since one is of BLOCK_MAX minutes at most."""
    return -(-playing_minutes(minutes) // BLOCK_MAX)


def blocks_most(minutes: int) -> int:
    """More blocks would be too short to do anything in."""
    return max(blocks_least(minutes), min(BLOCKS_MAX, playing_minutes(minutes) // 2))


def items_that_fit(given: SessionIn) -> list[DueItem]:
    """The due items of this session, the latest first: one at least, beside the warm-up."""
    room = playing_minutes(given.minutes) // BLOCK_GOOD - 1
    most = min(max(1, room), blocks_most(given.minutes) - 1)
    return by_lateness(given.due_items)[: max(0, most)]


def faults_of(blocks: Sequence[Block], given: SessionIn) -> list[str]:
    """What is wrong with a finished session; empty when everything that must hold does."""
    playing = [block for block in blocks if block.kind is not Kind.REST]
    faults: list[str] = []
    total = sum(block.minutes for block in blocks)
    if total != given.minutes:
        faults.append(f"the minutes add up to {total}, not to {given.minutes}")
    if not playing or blocks[0].kind is not Kind.WARM_UP:
        faults.append("a session begins with a warm-up")
    if any(not 1 <= block.minutes <= BLOCK_MAX for block in blocks):
        faults.append(f"a block has 1 to {BLOCK_MAX} minutes")
    if total - sum(block.minutes for block in playing) < rest_minutes(given.minutes):
        faults.append(f"{rest_minutes(given.minutes)} minutes of rest are needed")
    if max(spans(blocks), default=0) > SPAN_MAX:
        faults.append(f"more than {SPAN_MAX} minutes without a rest")
    return [*faults, *item_faults(playing, given)]


def item_faults(blocks: Sequence[Block], given: SessionIn) -> list[str]:
    """Whether the due items are there, in order, and no others are made up."""
    wanted = [item.item_id for item in items_that_fit(given)]
    known = known_items(given)
    found = [block.item_id for block in blocks if block.item_id is not None]
    faults = [f"there is no item {one!r}" for one in dict.fromkeys(found) if one not in known]
    faults += [f"the due item {one!r} is missing" for one in wanted if one not in found]
    first_seen = [one for one in dict.fromkeys(found) if one in wanted]
    if first_seen != [one for one in wanted if one in found]:
        faults.append(f"due items are to come in this order: {', '.join(wanted)}")
    return faults


def known_items(given: SessionIn) -> Collection[str]:
    """The ids that a session may name."""
    return {one.item_id for one in given.due_items} | {one.item_id for one in given.recent}


def spans(blocks: Sequence[Block]) -> list[int]:
    """How long is played between rests."""
    found = [0]
    for block in blocks:
        if block.kind is Kind.REST:
            found.append(0)
        else:
            found[-1] += block.minutes
    return found
