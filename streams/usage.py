"""What attempts used of models: tokens, seconds, loads; how it is written and summed. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

import msgspec

FIELDS = (  # the order in which a text has them; lua/lib/usage.lua adds them up
    *("asks", "repairs", "cached", "swaps", "prompt_tokens", "completion_tokens"),
    *("load_s", "prompt_eval_s", "eval_s"),
)
EPOCH = date(1970, 1, 1)
OTHERS = "*"  # app, processor and model of what came when a day had as many rows as it may


class Usage(msgspec.Struct, frozen=True):
    """What one answer cost, or many together. Seconds are the host's own, to the millisecond."""

    asks: int = 0  # questions to a model
    repairs: int = 0  # of these, to mend an answer that was not as it should be
    cached: int = 0  # results that were known already: no model was asked
    swaps: int = 0  # loads of a model that was not in memory
    prompt_tokens: int = 0
    completion_tokens: int = 0
    load_s: float = 0.0  # loading the model first; 0 when it was in memory
    prompt_eval_s: float = 0.0
    eval_s: float = 0.0

    @property
    def tokens_per_s(self) -> float:
        """Speed of the answers, 0 when nothing was said."""
        return self.completion_tokens / self.eval_s if self.eval_s else 0.0

    def __add__(self, other: "Usage") -> "Usage":
        """Both together."""
        return Usage(*(getattr(self, name) + getattr(other, name) for name in FIELDS))


NOTHING = Usage()


class By(StrEnum):
    """What sums of usage may be kept apart by."""

    DAY = "day"
    APP = "app"
    PROCESSOR = "processor"
    MODEL = "model"


class UsageRow(msgspec.Struct, frozen=True):
    """What jobs of one app, processor and model used in one day (UTC); empty: of any."""

    usage: Usage
    day: date | None = None
    app: str = ""
    processor: str = ""
    model: str = ""


def usage_text(usage: Usage) -> str:
    """How usage stands in Redis: whole numbers in the order of FIELDS, milliseconds for seconds."""
    if usage == NOTHING:
        return ""
    values = (getattr(usage, name) for name in FIELDS)
    return " ".join(str(v if isinstance(v, int) else round(v * 1_000)) for v in values)


def parse_usage(stored: str) -> Usage | None:
    """The usage that `usage_text` wrote; None for the empty text."""
    if not stored:
        return None
    values: dict[str, Any] = dict(zip(FIELDS, map(int, stored.split()), strict=True))
    for name in FIELDS:
        if name.endswith("_s"):
            values[name] /= 1_000
    return Usage(**values)


def parse_day(day: date, fields: Mapping[str, str]) -> list[UsageRow]:
    """The rows of one day's hash, `app|processor|model` → usage."""
    rows = []
    for name, stored in sorted(fields.items()):
        app, processor, model = name.split("|", 2)
        rows.append(UsageRow(parse_usage(stored) or NOTHING, day, app, processor, model))
    return rows


def grouped(rows: Iterable[UsageRow], by: Sequence[By]) -> list[UsageRow]:
    """The sums of rows, kept apart by what is named, in order of that."""
    sums: dict[tuple[object, ...], UsageRow] = {}
    for row in rows:
        parts = {str(name): getattr(row, name) for name in by}
        key = tuple(parts.values())
        known = sums.get(key)
        usage = known.usage + row.usage if known else row.usage
        sums[key] = UsageRow(usage, **parts)
    return [sums[key] for key in sorted(sums, key=lambda each: tuple(map(str, each)))]


def days_of(first: date, last: date) -> list[date]:
    """Every day from `first` to `last`, both included."""
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def day_number(day: date) -> int:
    """Days since 1970: how a day's key ends."""
    return (day - EPOCH).days


def day_of(ms: int) -> date:
    """The day (UTC) of a wall time."""
    return EPOCH + timedelta(days=ms // 86_400_000)
