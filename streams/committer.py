"""Sends verdicts and asks for work: settle and take travel together, at most two rounds at once.

A round is repeated until Redis has answered it. What it cannot deliver at once is put into the
journal, and on every new connection what Redis has forgotten since is sent before all else.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from streams.broker import ANSWERS, Broker, take_row
from streams.errors import Unavailable
from streams.intake import Intake
from streams.journal import VerdictJournal
from streams.model import Done, Mark, Settled, Settlement, Take, Taken
from streams.telemetry import AttemptSettled, ChangedNothing, LinkChanged, Telemetry
from streams.wire import Call, ScriptFailed, Wire

log = logging.getLogger(__name__)

ROUNDS = 2
SETTLEMENTS_MAX = 500
BACKOFF_FIRST_S, BACKOFF_LAST_S = 0.05, 1.0
REFUSALS_MAX = 5  # of one round, before its calls are tried one by one

Describe = Callable[[Intake, int], Take]


class Round(msgspec.Struct):
    """What one write carries: verdicts first, then requests for work."""

    settlements: Sequence[Settlement]
    takes: Sequence[tuple[Intake, Take]]
    mark: Mark | None = None  # of the last try, where verdicts of it are in the journal
    refusals: int = 0


class Committer:
    """One per worker, for all its classes. `run` is to be awaited by as many as ROUNDS tasks."""

    def __init__(
        self,
        broker: Broker,
        wire: Wire,
        intakes: Sequence[Intake],
        telemetry: Telemetry,
        journal: VerdictJournal | None = None,
    ) -> None:
        self._broker = broker
        self._wire = wire
        self._intakes = intakes
        self._telemetry = telemetry
        self._journal = journal
        self._caught_up = asyncio.Lock()
        self._connection = 0  # the one over which the journal was last compared
        self._pending: deque[Settlement] = deque()
        self._in_flight = 0
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.up = True
        self.failing_since: float | None = None  # monotonic; None: the last round was answered
        self.taken_at = 0.0  # event loop time of the last take that was answered

    def put(self, settlement: Settlement) -> None:
        """Send a verdict with the next round. Never waits."""
        self._pending.append(settlement)
        self._idle.clear()
        self._work.set()

    def wake(self) -> None:
        """Look whether there is anything to send."""
        self._work.set()

    async def drained(self) -> None:
        """Wait until Redis has answered every verdict and every request for work."""
        await self._idle.wait()

    async def run(self, describe: Describe, worker: str) -> None:
        """Send rounds for ever; `describe` completes a request for work."""
        while True:
            await self._work.wait()
            if self._pending:
                await asyncio.sleep(0)  # what ends in this turn of the loop rides along
            round_ = self._next(describe)
            if round_ is None:
                self._work.clear()
                continue
            self._in_flight += 1
            self._idle.clear()
            try:
                await self._send(round_, worker)
            finally:
                self._in_flight -= 1
                if not self._pending and not self._in_flight:
                    self._idle.set()

    def _next(self, describe: Describe) -> Round | None:
        settlements: list[Settlement] = []
        size = 0
        while self._pending and len(settlements) < SETTLEMENTS_MAX:
            size += _bytes(self._pending[0])
            if settlements and size > self._broker.settings.settle_max_bytes:
                break
            settlements.append(self._pending.popleft())
        takes = []
        for intake in self._intakes:
            wanted = intake.ask() if self.up else 0
            if wanted:
                intake.sequence += 1
                takes.append((intake, describe(intake, wanted)))
        return Round(settlements, takes) if settlements or takes else None

    async def _send(self, round_: Round, worker: str) -> None:
        """Repeat one round until Redis has answered it; every call in it may be repeated."""
        backoff_s = BACKOFF_FIRST_S
        while True:
            try:
                answers = await self._try(round_, worker)
                break
            except ScriptFailed as error:
                round_.refusals += 1
                if round_.refusals >= REFUSALS_MAX:
                    await self._send_singly(round_, worker)
                    return
                reason = str(error)
            except Unavailable as error:
                reason = str(error)
            self.failing_since = self.failing_since or time.monotonic()
            self._link(up=False, reason=reason)
            if self._journal is not None:
                await self._journal.append(round_.settlements)
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, BACKOFF_LAST_S)
        self.failing_since = None
        self._link(up=True)
        if round_.settlements:
            await self._settled(round_, answers.pop(0))
        for (intake, call), answer in zip(round_.takes, answers, strict=True):
            self._taken(intake, call, answer, worker)

    async def _try(self, round_: Round, worker: str) -> list[Any]:
        connection = await self._catch_up(round_)
        calls: list[Call] = []
        if round_.settlements:
            # A number for each try: an older one that arrives late must not pass for this one.
            round_.mark = self._journal.mark(round_.settlements) if self._journal else None
            row = self._broker.settle_row(worker, round_.settlements, round_.mark)
            calls.append(("settle", row))
        calls += [("take", take_row(call)) for _, call in round_.takes]
        return await self._wire.call(calls, connection=connection)

    async def _catch_up(self, round_: Round) -> int | None:
        """On a new connection, put before the round what Redis was told and forgot."""
        if self._journal is None:
            return None
        async with self._caught_up:
            connection = await self._wire.open()
            if connection != self._connection:
                lost = self._journal.lost_by(await self._broker.settled(self._journal.id))
                if lost:
                    log.error("Redis lost its tail", extra={"verdicts": len(lost)})
                round_.settlements = [*lost, *round_.settlements]
                self._connection = connection
        return connection

    async def _send_singly(self, round_: Round, worker: str) -> None:
        """A round that Redis refuses: every verdict alone; one that is refused alone is given up.

        Its job's lease runs out and is taken by somebody; the verdict stays in the journal.
        """
        for settlement in round_.settlements:
            single = Round([settlement], [])
            try:
                [answers] = await self._try(single, worker)
                await self._settled(single, answers)
            except ScriptFailed:
                log.exception("a verdict is refused", extra={"job_id": settlement.job_id})
            except Unavailable:
                self.put(settlement)
        for intake, call in round_.takes:
            intake.asked -= call.slots
            intake.dirty = True
        await asyncio.sleep(BACKOFF_LAST_S)
        self._link(up=True)

    async def _settled(self, round_: Round, answers: Sequence[Any]) -> None:
        done = []
        for settlement, raw in zip(round_.settlements, answers, strict=True):
            answer = ANSWERS[raw]
            if answer is Settled.UNSTAGED and isinstance(settlement.verdict, Done):
                with contextlib.suppress(Unavailable):  # then it is unstaged once more
                    await self._broker.stage(
                        settlement.job_id, settlement.token, settlement.verdict.result
                    )
                self.put(settlement)
                continue
            done.append(settlement)
            if answer is not Settled.SETTLED:
                self._telemetry.emit(ChangedNothing(settlement.job_id, answer))
            if self._telemetry.wants(AttemptSettled):
                self._telemetry.emit(AttemptSettled(settlement.job_id, settlement.token, answer))
        if self._journal is not None and round_.mark:
            self._journal.answered(done, round_.mark)

    def _taken(self, intake: Intake, call: Take, answer: Sequence[Any], worker: str) -> None:
        intake.asked -= call.slots
        loop = asyncio.get_running_loop()
        taken = self._broker.taken(call, answer)
        self.taken_at = loop.time()
        for lease in taken.leases:
            if not intake.deliver(lease):
                intake.give_back(lease)
        self._plan_look(intake, call, taken)
        if intake.dirty:  # the bell rang while the answer was on its way
            self._work.set()

    def _plan_look(self, intake: Intake, call: Take, taken: Taken) -> None:
        """Look again at once after a full answer, else when Redis said or when the bell rings."""
        intake.hot = len(taken.leases) == call.slots
        if intake.hot or taken.stale:
            self.ring(intake)
            return
        if intake.look_again is not None:
            intake.look_again.cancel()
        if intake.open:
            delay_s = max(taken.look_again_ms, 1) / 1000
            loop = asyncio.get_running_loop()
            intake.look_again = loop.call_later(delay_s, self.ring, intake)

    def ring(self, intake: Intake) -> None:
        """There may be work for this class."""
        intake.dirty = True
        self._work.set()

    def _link(self, *, up: bool, reason: str = "") -> None:
        if up != self.up:
            self.up = up
            self._telemetry.emit(LinkChanged(up, reason))
            if up:
                for intake in self._intakes:
                    intake.dirty = True
                self._work.set()


def _bytes(settlement: Settlement) -> int:
    verdict = settlement.verdict
    return 200 + (min(len(verdict.result), 32_768) if isinstance(verdict, Done) else 0)
