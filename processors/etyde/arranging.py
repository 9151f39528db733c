"""Puts blocks into a session: order, minutes, rests. No model and no chance."""

from collections import Counter
from collections.abc import Sequence
from functools import cache

import msgspec

from processors.etyde.minutes import shared_out
from processors.etyde.session import (
    BLOCK_MAX,
    REST,
    SPAN_MAX,
    Block,
    Kind,
    Language,
    SessionIn,
    items_that_fit,
    playing_minutes,
    rest_minutes,
)

NEAR = 8  # minutes by which a rest moves so as to fall between two blocks
RESTS = {
    "da": ("Pause", "Læg instrumentet fra dig, og rør dig lidt.", "Skuldre og hænder er løse igen"),
    "en": (
        "Rest",
        "Put the instrument down and move about.",
        "Shoulders and hands are loose again",
    ),
}


def arranged(blocks: Sequence[Block], given: SessionIn) -> list[Block]:
    """A whole session of these blocks: warm-up first, due items by lateness, kinds in turn.

    Minutes are shared out anew in the proportion in which they stand. Raises ValueError for too
    few or too many blocks for the time.
    """
    playing = [block for block in blocks if block.kind is not Kind.REST]
    ordered = in_turn(playing, [item.item_id for item in items_that_fit(given)])
    weights = [max(1, block.minutes) for block in ordered]
    minutes = shared_out(playing_minutes(given.minutes), weights, 1, BLOCK_MAX)
    timed = [
        msgspec.structs.replace(block, minutes=share)
        for block, share in zip(ordered, minutes, strict=True)
    ]
    return with_rests(timed, rest_minutes(given.minutes) // REST, given.language)


def in_turn(blocks: Sequence[Block], due: Sequence[str]) -> list[Block]:
    """Warm-ups, then the rest so that as few as can be of one kind follow each other.

    Blocks of due items keep the order of `due`, and go first where it makes no difference.
    """
    first = [block for block in blocks if block.kind is Kind.WARM_UP]
    others = [block for block in blocks if block.kind is not Kind.WARM_UP]
    place = {item_id: index for index, item_id in enumerate(due)}
    fixed = sorted(
        (block for block in others if block.item_id in place),
        key=lambda block: place[block.item_id or ""],
    )
    free = [block for block in others if block.item_id not in place]
    kinds = merged([block.kind for block in fixed], [block.kind for block in free])
    ordered = list(first)
    for is_fixed, kind in kinds:
        if is_fixed:
            ordered.append(fixed.pop(0))
        else:
            chosen = next(block for block in free if block.kind is kind)
            free.remove(chosen)
            ordered.append(chosen)
    return ordered


def merged(fixed: Sequence[Kind], free: Sequence[Kind]) -> list[tuple[bool, Kind]]:
    """Both together, `fixed` in its order, with the fewest neighbours of one kind.

    Each is told with whether it is of `fixed`.
    """
    kinds = list(dict.fromkeys(free))
    counts = Counter(free)

    @cache
    def best(at: int, left: tuple[int, ...], last: Kind | None) -> tuple[int, tuple[int, ...]]:
        """The fewest neighbours from here on, and the moves: -1 is the next of `fixed`."""
        if at == len(fixed) and not any(left):
            return 0, ()
        found: list[tuple[int, tuple[int, ...]]] = []
        moves = [-1] if at < len(fixed) else []
        for move in (*moves, *(n for n, count in enumerate(left) if count)):
            kind = fixed[at] if move < 0 else kinds[move]
            after = left if move < 0 else (*left[:move], left[move] - 1, *left[move + 1 :])
            cost, rest = best(at + (move < 0), after, kind)
            found.append((cost + (kind == last), (move, *rest)))
        return min(found, key=lambda one: one[0])

    _, moves = best(0, tuple(counts[kind] for kind in kinds), None)
    in_order = iter(fixed)
    return [(True, next(in_order)) if move < 0 else (False, kinds[move]) for move in moves]


def with_rests(blocks: Sequence[Block], rests: int, language: Language) -> list[Block]:
    """The blocks with so many rests, evenly spread, between blocks where one ends nearby.

    Where none does a block is cut in two. No stretch of playing is longer than SPAN_MAX.
    """
    left, ended = list(blocks), list[Block]()
    for more in range(rests, 0, -1):
        total = sum(block.minutes for block in left)
        before, left = cut_at(left, cut(left, total, more))
        ended += [*before, rest_block(language)]
    return [*ended, *left]


def cut(blocks: Sequence[Block], total: int, rests: int) -> int:
    """After how many minutes the next of so many rests comes."""
    ideal = round(total / (rests + 1))
    least = max(1, total - rests * SPAN_MAX, ideal - NEAR)
    most = min(total - 1, SPAN_MAX, ideal + NEAR)
    ends, at = list[int](), 0
    for block in blocks:
        at += block.minutes
        ends.append(at)
    near = [end for end in ends if least <= end <= most]
    return min(near, key=lambda end: (abs(end - ideal), end)) if near else ideal


def cut_at(blocks: Sequence[Block], minutes: int) -> tuple[list[Block], list[Block]]:
    """What comes before that minute and what after; a block in which it falls is cut in two."""
    before, after, left = list[Block](), list[Block](), minutes
    for block in blocks:
        here = min(left, block.minutes)
        left -= here
        if here:
            before.append(msgspec.structs.replace(block, minutes=here))
        if here < block.minutes:
            after.append(msgspec.structs.replace(block, minutes=block.minutes - here))
    return before, after


def rest_block(language: Language) -> Block:
    """A rest."""
    title, instructions, criterion = RESTS[language]
    return Block(Kind.REST, title, REST, None, None, title, instructions, criterion)
