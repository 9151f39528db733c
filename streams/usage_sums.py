"""Reading the sums of usage that settles wrote, by day."""

from collections.abc import Sequence
from datetime import date

from streams.keyspace import Keyspace
from streams.scripts import Client, text, translated
from streams.usage import UsageRow, day_number, days_of, parse_day

DAYS_MAX = 400


class UsageSums:
    """What models were used for. Every method may raise errors.Unavailable."""

    def __init__(self, redis: Client, keyspace: Keyspace) -> None:
        self._redis = redis
        self._keys = keyspace

    async def rows(self, first: date, last: date, app: str | None = None) -> list[UsageRow]:
        """A row for each day (UTC), app, processor and model; of the last DAYS_MAX of the days."""
        days: Sequence[date] = days_of(first, last)[-DAYS_MAX:]
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for day in days:
                    pipe.hgetall(self._keys.key("usage_", str(day_number(day))))
                found = await pipe.execute() if days else []
        rows: list[UsageRow] = []
        for day, raw in zip(days, found, strict=True):
            fields = {text(name): text(stored) for name, stored in raw.items()}
            rows += [row for row in parse_day(day, fields) if app is None or row.app == app]
        return rows
