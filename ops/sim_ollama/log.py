"""What the simulator saw, for tests to compare: requests in order, loads, concurrency."""

import asyncio
from collections import deque

import msgspec

REQUESTS_MAX = 10_000
TURNS = 25  # of the event loop, from a hang-up to the end of its answer, with some to spare


class Visit(msgspec.Struct):
    """One request to generate, chat or embed."""

    number: int
    route: str
    model: str
    arrived_s: float
    status: int = 0  # 0 while it runs
    ending: str = ""  # stop, length, load, unload, error, cut or disconnected
    chunks: int = 0
    ended_s: float = 0.0


class SimLog:
    """Counts and requests since the start or the last reset."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.visits: deque[Visit] = deque(maxlen=REQUESTS_MAX)
        self.running = 0
        self.max_concurrency = 0
        self.loads: list[str] = []
        self.unloads: list[str] = []
        self.aborted_loads = 0
        self.failed_loads = 0
        self._arrived = 0

    async def settle(self) -> None:
        """Let those go whose client hung up before this one came: the loop may see both at once."""
        for _ in range(TURNS if self.running else 0):
            await asyncio.sleep(0)

    def arrive(self, route: str, model: str, now_s: float) -> Visit:
        """A request has come in; it runs until `leave`."""
        self._arrived += 1
        visit = Visit(self._arrived, route, model, now_s)
        self.visits.append(visit)
        self.running += 1
        self.max_concurrency = max(self.max_concurrency, self.running)
        return visit

    def leave(self, visit: Visit, status: int, ending: str, now_s: float) -> None:
        """The request is over; only the first call for a visit counts."""
        if visit.status:
            return
        visit.status, visit.ending, visit.ended_s = status, ending, now_s
        self.running -= 1

    def summary(self) -> dict[str, object]:
        """The body of GET /_sim/log."""
        return {
            "requests": [msgspec.to_builtins(visit) for visit in self.visits],
            "running": self.running,
            "max_concurrency": self.max_concurrency,
            "loads": self.loads,
            "unloads": self.unloads,
            "swaps": max(0, len(self.loads) - 1),
            "aborted_loads": self.aborted_loads,
            "failed_loads": self.failed_loads,
        }
