"""Moments on the command line: a time, or how long ago it was."""

import re
from datetime import datetime
from typing import Any

import click

from streams.clock import SystemClock

AGE = re.compile(r"(\d+)([smhd])")
UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class Moment(click.ParamType):
    """`2h` (ago), `2026-11-23` or `2026-11-23T06:00`, local unless it has a zone, as wall ms."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> int:
        """Wall milliseconds."""
        if isinstance(value, int):
            return value
        if age := AGE.fullmatch(value):
            return SystemClock().now_ms() - int(age[1]) * UNITS_S[age[2]] * 1_000
        try:
            return max(1, round(datetime.fromisoformat(value).timestamp() * 1_000))
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither an age such as 2h nor a time", param, context)


MOMENT = Moment()
