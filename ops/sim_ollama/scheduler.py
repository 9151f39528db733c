"""Which model is in memory, and who may use it: Ollama's scheduler, faults included.

A request for the resident model with the same load-time options passes by all others. Any other
waits in one FIFO whose head blocks the rest until its model runs (ollama server/sched.go).
"""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from ops.sim_ollama.clock import ScaledClock
from ops.sim_ollama.faults import Faults, Kind
from ops.sim_ollama.log import SimLog
from ops.sim_ollama.models import SimConfig

BUSY = "server busy, please try again.  maximum pending requests exceeded"  # two spaces: so it is


class Busy(Exception):
    """The pending FIFO is full."""


class LoadFailed(Exception):
    """The model could not be brought up; the text is Ollama's."""


class Phase(StrEnum):
    """Where a runner stands."""

    LOADING = "loading"
    READY = "ready"
    STOPPING = "stopping"  # to be evicted, its requests still run
    UNLOADING = "unloading"
    GONE = "gone"


class Wanted(msgspec.Struct, frozen=True):
    """What a request needs in memory. Another value in `options` means a reload."""

    model: str
    options: tuple[tuple[str, object], ...]
    keep_alive_s: float  # negative: for ever

    @property
    def num_ctx(self) -> int:
        """The context that the runner is started with."""
        return int(str(dict(self.options)["num_ctx"]))


@dataclass(eq=False)
class Runner:
    """One model in memory."""

    wanted: Wanted
    size_bytes: int
    slots: asyncio.Semaphore
    keep_alive_s: float
    phase: Phase = Phase.LOADING
    refs: int = 0
    expires_at: float | None = None
    timer: asyncio.TimerHandle | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)  # loading is over
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def model(self) -> str:
        """The full name of the model."""
        return self.wanted.model


class Scheduler:
    """Hands out runners, one load at a time."""

    def __init__(
        self, config: SimConfig, clock: ScaledClock, log: SimLog, rng: random.Random
    ) -> None:
        self._config = config
        self._clock = clock
        self._log = log
        self._rng = rng
        self._turn = asyncio.Lock()  # fair: the pending FIFO's head holds it
        self._resident: dict[str, Runner] = {}
        self.pending = 0
        self.stuck_unloads = 0
        self.leak_bytes = 0
        self.leaked_bytes = 0

    @property
    def resident(self) -> Mapping[str, Runner]:
        """Every model that takes up memory, loading and stopping ones included."""
        return self._resident

    @asynccontextmanager
    async def runner(self, wanted: Wanted, faults: Faults) -> AsyncIterator[Runner]:
        """The wanted model, ready. Raises Busy or LoadFailed; cancelled, it aborts its own load."""
        runner = await self._bypass(wanted) or await self._queued(wanted, faults)
        try:
            yield runner
        finally:
            self._release(runner)

    def expire(self, model: str) -> None:
        """Unload when the requests under way are done; returns at once."""
        runner = self._resident.get(model)
        if runner is not None:
            self._stop(runner)

    def crash(self, runner: Runner) -> None:
        """The runner's process has died: its memory is free at once."""
        self._drop(runner)

    def drop_all(self) -> None:
        """The server went down: nothing is resident any more."""
        for runner in list(self._resident.values()):
            self._drop(runner)
        self.stuck_unloads = 0

    async def _bypass(self, wanted: Wanted) -> Runner | None:
        runner = self._resident.get(wanted.model)
        if runner is None or not self._serves(runner, wanted):
            return None
        self._use(runner, wanted)
        try:
            await runner.settled.wait()
        except asyncio.CancelledError:
            self._release(runner)
            raise
        return runner if runner.phase is Phase.READY else None

    def _serves(self, runner: Runner, wanted: Wanted) -> bool:
        usable = {Phase.LOADING, Phase.READY}
        if self._config.resurrect:
            usable.add(Phase.STOPPING)
        return runner.phase in usable and runner.wanted.options == wanted.options

    def _use(self, runner: Runner, wanted: Wanted) -> None:
        """One more request; its keep-alive overwrites the 0 of an eviction, as in ollama#17408."""
        runner.refs += 1
        runner.keep_alive_s = wanted.keep_alive_s
        runner.expires_at = None
        if runner.timer is not None:
            runner.timer.cancel()
        if runner.phase is Phase.STOPPING:
            runner.phase = Phase.READY

    async def _queued(self, wanted: Wanted, faults: Faults) -> Runner:
        if self._turn.locked() and self.pending >= self._config.max_queue:
            raise Busy(BUSY)
        self.pending += 1
        try:
            await self._turn.acquire()
        finally:
            self.pending -= 1
        try:
            return await self._admit(wanted, faults)
        finally:
            self._turn.release()

    async def _admit(self, wanted: Wanted, faults: Faults) -> Runner:
        while True:
            runner = self._resident.get(wanted.model)
            if runner is not None and runner.phase is Phase.READY and self._serves(runner, wanted):
                self._use(runner, wanted)
                return runner
            victim = runner or self._victim(wanted.model)
            if victim is None:
                return await self._load(wanted, faults)
            self._stop(victim)
            await victim.gone.wait()

    def _victim(self, model: str) -> Runner | None:
        """Who must leave before `model` fits: idle ones first, then by keep-alive, then by name."""
        size = self._config.models[model].size_bytes
        free = self._config.memory_bytes - self.leaked_bytes
        used = sum(runner.size_bytes for runner in self._resident.values())
        if len(self._resident) < self._config.max_loaded and used + size <= free:
            return None
        if not self._resident:
            raise LoadFailed(
                f"model requires more system memory ({size / 2**30:.1f} GiB) "
                f"than is available ({max(0, free) / 2**30:.1f} GiB)"
            )
        return min(self._resident.values(), key=_eviction_order)

    async def _load(self, wanted: Wanted, faults: Faults) -> Runner:
        spec = self._config.models[wanted.model]
        slots = asyncio.Semaphore(self._config.num_parallel)
        runner = Runner(wanted, spec.size_bytes, slots, wanted.keep_alive_s, refs=1)
        self._resident[wanted.model] = runner
        try:
            await self._bring_up(spec.load_s, faults)
        except asyncio.CancelledError:
            self._log.aborted_loads += 1
            self._drop(runner)
            raise
        except LoadFailed:
            self._log.failed_loads += 1
            self._drop(runner)
            raise
        if runner.phase is Phase.GONE:
            raise LoadFailed("llama-server process has terminated: signal: killed")
        if runner.phase is Phase.LOADING:
            runner.phase = Phase.READY
        self._log.loads.append(wanted.model)
        runner.settled.set()
        return runner

    async def _bring_up(self, load_s: float, faults: Faults) -> None:
        if Kind.LOAD_HANG in faults:
            await asyncio.Event().wait()
        await self._clock.sleep(load_s * max(0.1, self._rng.gauss(1, self._config.load_spread)))
        failure = faults.get(Kind.LOAD_FAIL)
        if failure is not None:
            raise LoadFailed(failure.text or "llama-server process has terminated: exit status 2")

    def _release(self, runner: Runner) -> None:
        runner.refs -= 1
        if runner.refs > 0 or runner.phase in (Phase.UNLOADING, Phase.GONE):
            return
        if runner.keep_alive_s == 0 or runner.phase is Phase.STOPPING:
            self._unload(runner)
        elif runner.keep_alive_s > 0:
            runner.expires_at = self._clock.now() + runner.keep_alive_s
            runner.timer = self._clock.call_later(runner.keep_alive_s, lambda: self._stop(runner))

    def _stop(self, runner: Runner) -> None:
        if runner.phase in (Phase.UNLOADING, Phase.GONE):
            return
        runner.keep_alive_s = 0
        runner.expires_at = self._clock.now()
        if runner.refs == 0:
            self._unload(runner)
        elif runner.phase is Phase.READY:
            runner.phase = Phase.STOPPING

    def _unload(self, runner: Runner) -> None:
        runner.phase = Phase.UNLOADING
        runner.expires_at = self._clock.now()
        if runner.timer is not None:
            runner.timer.cancel()
        if self.stuck_unloads > 0:
            self.stuck_unloads -= 1
            return
        self._clock.call_later(self._config.unload_s, lambda: self._unloaded(runner))

    def _unloaded(self, runner: Runner) -> None:
        if runner.phase is Phase.GONE:
            return
        self._log.unloads.append(runner.model)
        self.leaked_bytes += self.leak_bytes
        self._drop(runner)

    def _drop(self, runner: Runner) -> None:
        runner.phase = Phase.GONE
        if runner.timer is not None:
            runner.timer.cancel()
        if self._resident.get(runner.model) is runner:
            del self._resident[runner.model]
        runner.settled.set()
        runner.gone.set()


def _eviction_order(runner: Runner) -> tuple[bool, float, str]:
    keep_alive_s = runner.keep_alive_s if runner.keep_alive_s >= 0 else float("inf")
    return runner.refs > 0, keep_alive_s, runner.model
