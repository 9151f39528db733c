"""Learns how long attempts run and models load, from what this worker's attempts tell."""

from streams.learned import LearnedTimes, gathered, load_field, run_field
from streams.model import HandedBack, Parked, Stopped
from streams.telemetry import AttemptJudged, Happening


class Learner:
    """Listens, and writes now and then what it heard. Off the way of jobs: it costs them nothing.

    What was stopped from outside says nothing of how long such work takes.
    """

    name = "learner"
    every_s = 2.0

    def __init__(self, times: LearnedTimes) -> None:
        self._times = times
        self._heard: dict[str, list[float]] = {}
        self._full = False  # until they are written

    def __call__(self, happening: Happening) -> None:
        """Note what one attempt took."""
        if not isinstance(happening, AttemptJudged) or self._full:
            return
        if isinstance(happening.verdict, HandedBack | Parked | Stopped):
            return
        lane, usage = happening.lease.lane, happening.usage
        run_ms = max(0.0, happening.took_s - happening.untimed_s) * 1_000
        found = [(run_field(lane), run_ms)]
        if usage.swaps:
            found.append((load_field(lane.model), usage.load_s / usage.swaps * 1_000))
        self._full = not gathered(found, self._heard)

    async def tick(self) -> None:
        """Write it. What cannot be written waits for the next time."""
        heard, self._heard, self._full = self._heard, {}, False
        try:
            await self._times.add(heard)
        except Exception:
            gathered(
                ((field, one) for field, values in heard.items() for one in values), self._heard
            )
            raise
