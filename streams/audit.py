"""The audit: whether the counters equal the structures, and every job is in its one place.

Two ways of looking. `balances` reads the counters of a class and its structures in one script, so
that a busy system shows no difference that is none. `walk` goes over the records of all jobs, a
page at a time, since no index of them could be trusted here: it asks for each whether it is where
its state says, and puts right what can be.
"""

import re
from collections.abc import Sequence

import msgspec

from streams.keyspace import Keyspace
from streams.model import ResourceClass
from streams.scripts import Client, Scripts, text, translated
from streams.settings import EngineSettings

LANES_MAX = 2_000  # of a class that are counted in one call: a thousand took Redis 7 8 ms
SHARED = ""  # what is counted for no class alone: blocked jobs, callbacks


class Balance(msgspec.Struct, frozen=True):
    """A counter beside what the structures hold, at one moment. They must be equal (I1, I12)."""

    resource_class: str  # empty for callbacks and blocked jobs
    what: str
    counted: int
    held: int

    @property
    def even(self) -> bool:
        """Whether both say the same."""
        return self.counted == self.held

    @property
    def sentence(self) -> str:
        """What is counted and what is there."""
        whose = self.resource_class or "shared"
        return f"{whose}: {self.what} is counted as {self.counted}, the structures hold {self.held}"


class Misplaced(msgspec.Struct, frozen=True):
    """A job that is not where its state says, or lacks what its end promises (I2, I4)."""

    job_id: str
    what: str
    mended: bool


class Stretch(msgspec.Struct, frozen=True):
    """What a stretch of the walk found; `cursor` is where to go on, 0 at the end."""

    cursor: int
    looked: int
    misplaced: Sequence[Misplaced]


class Findings(msgspec.Struct, frozen=True):
    """What auditors found so far: jobs by what was wrong with them."""

    ended_ms: int = 0  # when the last whole walk ended, 0 for never
    looked: int = 0  # jobs of that walk
    broken: dict[str, int] = {}  # by that walk, beyond mending
    mended: dict[str, int] = {}  # ever


class Audit:
    """Looks, and mends where told to. Every method may raise errors.Unavailable."""

    def __init__(
        self, redis: Client, keyspace: Keyspace, settings: EngineSettings | None = None
    ) -> None:
        self._redis = redis
        self._keys = keyspace
        self._scripts = Scripts(redis, keyspace, settings or EngineSettings())

    async def balances(self) -> list[Balance]:
        """Every counter beside its structures; a class of over 2,000 lanes is left out."""
        found = []
        for name in ResourceClass:
            reply = await self._scripts.run("audit_balance", name, LANES_MAX)
            found += _balances(name, reply)
        return found + _balances(SHARED, await self._scripts.run("audit_shared", *ResourceClass))

    async def differences(self) -> list[Balance]:
        """The balances that are not even: none, unless something is wrong."""
        return [balance for balance in await self.balances() if not balance.even]

    async def walk(self, cursor: int, keys: int, *, mend: bool) -> Stretch:
        """Look at the jobs among the next keys, about `keys` of them; 0 begins anew."""
        prefix = self._keys.job("")
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", prefix) + "*"
        with translated():
            following, found = await self._redis.scan(cursor, match=pattern, count=keys)
        ids = [text(key).removeprefix(prefix) for key in found]
        return Stretch(int(following), len(ids), await self.check(ids, mend=mend) if ids else [])

    async def check(self, job_ids: Sequence[str], *, mend: bool) -> list[Misplaced]:
        """What is wrong with these jobs, each looked at in one moment."""
        said = await self._scripts.run("audit_jobs", int(mend), *job_ids)
        return [
            Misplaced(text(job_id), text(what), mended == 1)
            for job_id, what, mended in zip(said[::3], said[1::3], said[2::3], strict=True)
        ]

    async def drop_leases(self, resource_class: ResourceClass, count: int = 100) -> int:
        """Drop the oldest expired leases of each pool that stand for no entry; how many."""
        return int(await self._scripts.run("audit_leases", resource_class, count))

    async def recount(self, resource_class: ResourceClass) -> int:
        """Set a class's counters to what its structures hold; how many changed.

        Jobs that vanished are then forgotten: look first why they did.
        """
        return int(await self._scripts.run("audit_recount", resource_class, LANES_MAX))

    async def begin_turn(self, auditor: str, hold_ms: int) -> int | None:
        """Where to go on with the walk, or None while another worker audits."""
        return _cursor(await self._scripts.run("audit_turn", auditor, hold_ms, "", 0))

    async def end_turn(self, auditor: str, hold_ms: int, cursor: int, looked: int) -> bool:
        """Write down how far the walk has come. False when another worker has taken over."""
        answer = await self._scripts.run("audit_turn", auditor, hold_ms, cursor, looked)
        return _cursor(answer) is not None

    async def findings(self) -> Findings:
        """What auditors wrote down."""
        with translated():
            rows = await self._redis.hgetall(self._keys.key("audit"))
        fields = {text(name): text(value) for name, value in rows.items()}

        def tally(kind: str) -> dict[str, int]:
            prefix = f"{kind}|"
            return {
                name.removeprefix(prefix): int(value)
                for name, value in sorted(fields.items())
                if name.startswith(prefix)
            }

        ended, looked = int(fields.get("ended", 0)), int(fields.get("looked", 0))
        return Findings(ended, looked, tally("broken"), tally("mended"))


def _balances(resource_class: str, reply: Sequence[bytes | int]) -> list[Balance]:
    rows = zip(reply[::3], reply[1::3], reply[2::3], strict=True)
    return [
        Balance(resource_class, text(what), int(counted), int(held))  # type: ignore[arg-type]  # a reply
        for what, counted, held in rows
    ]


def _cursor(reply: bytes | str | None) -> int | None:
    return None if reply is None else int(reply)
