"""Sends verdicts and asks for work: settle and take travel together, at most two rounds at once."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from streams.broker import Broker, take_row
from streams.errors import Unavailable
from streams.intake import Intake
from streams.model import Done, HandedBack, Settled, Settlement, Take, Taken
from streams.scripts import text
from streams.telemetry import AttemptSettled, LinkChanged, Telemetry
from streams.wire import Call, Wire

ROUNDS = 2
SETTLEMENTS_MAX = 500
BACKOFF_FIRST_S, BACKOFF_LAST_S = 0.05, 1.0

Describe = Callable[[Intake, int], Take]


class Round(msgspec.Struct):
    """What one write carries: verdicts first, then requests for work."""

    settlements: Sequence[Settlement]
    takes: Sequence[tuple[Intake, Take]]


class Committer:
    """One per worker, for all its classes. `run` is to be awaited by as many as ROUNDS tasks."""

    def __init__(
        self, broker: Broker, wire: Wire, intakes: Sequence[Intake], telemetry: Telemetry
    ) -> None:
        self._broker = broker
        self._wire = wire
        self._intakes = intakes
        self._telemetry = telemetry
        self._pending: deque[Settlement] = deque()
        self._in_flight = 0
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.up = True
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
        calls: list[Call] = []
        if round_.settlements:
            calls.append(("settle", self._broker.settle_row(worker, round_.settlements)))
        calls += [("take", take_row(call)) for _, call in round_.takes]
        backoff_s = BACKOFF_FIRST_S
        while True:
            try:
                answers = await self._wire.call(calls)
                break
            except Unavailable as error:
                self._link(up=False, reason=str(error))
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, BACKOFF_LAST_S)
        self._link(up=True)
        if round_.settlements:
            await self._settled(round_.settlements, answers.pop(0), worker)
        for (intake, call), answer in zip(round_.takes, answers, strict=True):
            self._taken(intake, call, answer, worker)

    async def _settled(
        self, settlements: Sequence[Settlement], answers: Sequence[Any], worker: str
    ) -> None:
        for settlement, raw in zip(settlements, answers, strict=True):
            answer = Settled(text(raw))
            if answer is Settled.UNSTAGED and isinstance(settlement.verdict, Done):
                with contextlib.suppress(Unavailable):  # then it is unstaged once more
                    await self._broker.stage(
                        settlement.job_id, settlement.token, settlement.verdict.result
                    )
                self.put(settlement)
            elif self._telemetry.listeners:
                self._telemetry.emit(AttemptSettled(settlement.job_id, settlement.token, answer))

    def _taken(self, intake: Intake, call: Take, answer: Sequence[Any], worker: str) -> None:
        intake.asked -= call.slots
        loop = asyncio.get_running_loop()
        taken = self._broker.taken(call, answer)
        self.taken_at = loop.time()
        for lease in taken.leases:
            if not intake.deliver(lease):
                self.put(Settlement(lease.job_id, lease.token, HandedBack()))
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
