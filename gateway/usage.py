"""What models were used for, over HTTP."""

from collections.abc import Sequence
from datetime import date
from typing import Any, Self

import msgspec
from starlette.responses import Response

from gateway.auth import Scope, app_filter
from gateway.call import Call, Operation, answer
from streams.errors import InvalidInput, NotAllowed
from streams.usage import NOTHING, By, Usage, UsageRow, day_of, grouped
from streams.usage_sums import DAYS_MAX

DAYS = 30  # looked back, where nothing is said
EVERY = ",".join(By)


class UsageQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Days of UTC, both included: without `from` the 30 up to `to`, without `to` up to today.

    `by` lists what sums are kept apart by: `day`, `app`, `processor`, `model`, or `none`.
    """

    first: date | None = msgspec.field(default=None, name="from")
    last: date | None = msgspec.field(default=None, name="to")
    by: str = EVERY
    app: str | None = None


class UsageSum(msgspec.Struct, frozen=True):
    """What was used. `asks` counts questions to a model, `cached` results that needed none."""

    asks: int
    repairs: int
    cached: int
    swaps: int
    prompt_tokens: int
    completion_tokens: int
    load_s: float
    prompt_eval_s: float
    eval_s: float
    tokens_per_s: float
    day: date | None = None
    app: str | None = None
    processor: str | None = None
    model: str | None = None

    @classmethod
    def of(cls, row: UsageRow, by: Sequence[By] = ()) -> Self:
        """The view of a row; what its sum is not kept apart by is null."""
        parts = {str(name): getattr(row, name) for name in by}
        return cls(**rounded(row.usage), **parts)


class UsageView(msgspec.Struct, frozen=True):
    """Usage of the days from `from` to `to`, and all of it together."""

    first: date = msgspec.field(name="from")
    last: date = msgspec.field(name="to")
    rows: tuple[UsageSum, ...] = ()
    total: UsageSum = msgspec.field(default_factory=lambda: UsageSum.of(UsageRow(NOTHING)))

    @classmethod
    def of(cls, first: date, last: date, rows: Sequence[UsageRow], by: Sequence[By]) -> Self:
        """The view of the rows of these days, in sums."""
        sums = tuple(UsageSum.of(row, by) for row in grouped(rows, by))
        total = grouped(rows, ()) or [UsageRow(NOTHING)]
        return cls(first, last, sums, UsageSum.of(total[0]))


def rounded(usage: Usage) -> dict[str, Any]:
    """Its values by name, seconds to the millisecond, and how fast answers were."""
    values = {name: round(value, 3) for name, value in msgspec.structs.asdict(usage).items()}
    return {**values, "tokens_per_s": round(usage.tokens_per_s, 2)}


def span_of(first: date | None, last: date | None, today: date) -> tuple[date, date]:
    """The days that are asked for. Raises InvalidInput for none, and for too many."""
    last = last or today
    first = first or date.fromordinal(max(1, last.toordinal() - DAYS + 1))
    if first > last:
        raise InvalidInput("lies after `to`", "$.from")
    if (last - first).days >= DAYS_MAX:
        raise InvalidInput(f"more than {DAYS_MAX} days before `to`", "$.from")
    return first, last


def parse_by(listed: str) -> tuple[By, ...]:
    """What sums are kept apart by. Raises InvalidInput."""
    if listed == "none":
        return ()
    names = tuple(dict.fromkeys(listed.split(",")))
    if unknown := [name for name in names if name not in tuple(By)]:
        raise InvalidInput(f"{unknown[0]!r} is none of {EVERY} and none", "$.by")
    return tuple(By(name) for name in names)


async def read_usage(call: Call) -> Response:
    """What models were used for: tokens, seconds, loads, in sums; an app sees its own."""
    query = call.query(UsageQuery)
    first, last = span_of(query.first, query.last, day_of(call.parts.clock.now_ms()))
    by = parse_by(query.by)
    app = app_filter(call.key, query.app)
    return answer(UsageView.of(first, last, await call.parts.usage.rows(first, last, app), by))


OPERATIONS = (
    Operation(
        "GET",
        "/v1/usage",
        "What models were used for",
        read_usage,
        Scope.READ,
        query=UsageQuery,
        answers={200: UsageView},
        errors=(InvalidInput, NotAllowed),
    ),
)
