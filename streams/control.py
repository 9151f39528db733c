"""What may be done about jobs and classes beside submitting and running: change, purge, rates."""

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from streams.keyspace import Keyspace
from streams.limits import rate_field, rate_text
from streams.model import Priority, Rate, ResourceClass, State
from streams.scripts import Client, Scripts, text, translated


class Changed(StrEnum):
    """What became of a wish to change a job that is not to be had any more, or not now."""

    CHANGED = "changed"
    UNKNOWN = "unknown"
    MISPLACED = "misplaced"  # its entry is not where it belongs: the sweeper mends that


class KeptLines(msgspec.Struct, frozen=True):
    """Lines of one attempt, and how many bytes of earlier ones are there."""

    job_id: str
    token: str
    attempt: int
    after: int
    text: bytes


class Control:
    """Changes jobs and limits. Every method may raise errors.Unavailable."""

    def __init__(self, redis: Client, keyspace: Keyspace, scripts: Scripts) -> None:
        self._redis = redis
        self._keys = keyspace
        self._scripts = scripts

    async def change(
        self, job_id: str, priority: Priority | None = None, due_ms: int | None = None
    ) -> Changed | State:
        """Give a job that has not started another priority, a delayed one another time (0: now).

        Answers the state that forbids it.
        """
        due = -1 if due_ms is None else due_ms
        said = text(await self._scripts.run("change", job_id, priority or "", due))
        return State(said) if said in list(State) else Changed(said)

    async def purge(self, job_ids: Sequence[str], state: State | None = None) -> list[str]:
        """Forget ended jobs before their time, at most 1,000, of one state where it is given.

        Answers `purged`, `gone`, `in_flow`, or the state that forbids it.
        """
        return [text(said) for said in await self._scripts.run("purge", state or "", *job_ids)]

    async def keep_lines(self, lines: Sequence[KeptLines]) -> int:
        """Keep lines that attempts logged, at most 100 attempts; how many tokens were the newest.

        Repeatable.
        """
        arguments: list[str | bytes | int] = []
        for each in lines:
            arguments += (each.job_id, each.token, each.attempt, each.after, each.text)
        return int(await self._scripts.run("log", *arguments))

    async def set_rate(
        self, resource_class: ResourceClass, rate: Rate | None, app: str | None = None
    ) -> None:
        """How many attempts of a class, or of one app in it, may start in a time; None for any."""
        field = rate_field(resource_class, app)
        with translated():
            await self._redis.hdel(self._keys.key("pace_", resource_class), app or "")
            if rate is None:
                await self._redis.hdel(self._keys.key("limits"), field)
            else:
                await self._redis.hset(self._keys.key("limits"), field, rate_text(rate))
