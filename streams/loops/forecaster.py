"""Makes estimates of starts, and learns from what happens how far they are off."""

import random

from streams.estimating import start_in_ms
from streams.forecasts import KEPT_MAX, Forecast, Forecasts
from streams.learned import LearnedTimes, gathered
from streams.model import ResourceClass
from streams.outlook import OutlookReader

SAMPLES = 4  # lanes of a class that one tick looks at


class Forecaster:
    """Takes a few waiting jobs at random, as somebody might ask about any.

    Every worker does; an estimate is compared by one of them.
    """

    name = "forecaster"
    every_s = 5.0

    def __init__(
        self,
        forecasts: Forecasts,
        outlooks: OutlookReader,
        times: LearnedTimes,
        draw: random.Random | None = None,
    ) -> None:
        self._forecasts = forecasts
        self._outlooks = outlooks
        self._times = times
        self._draw = draw or random.Random()

    async def tick(self) -> None:
        """Compare those that are over, then make new ones."""
        now_ms = await self._forecasts.now_ms()
        pending = await self._forecasts.pending()
        learned: dict[str, list[float]] = {}
        for outcome in await self._forecasts.compare(pending, now_ms):
            gathered(outcome.offs(), learned)
        await self._times.add(learned)
        known = {one.job_id for one in pending}
        for name in ResourceClass:
            made = [one for one in await self._made(name, now_ms) if one.job_id not in known]
            room = KEPT_MAX // len(ResourceClass) - sum(
                one.resource_class is name for one in pending
            )
            if made and room > 0:
                await self._forecasts.add(made[:room])

    async def _made(self, name: ResourceClass, now_ms: int) -> list[Forecast]:
        outlook = await self._outlooks.read(name)
        chosen = self._draw.sample(outlook.lanes, min(SAMPLES, len(outlook.lanes)))
        jobs = await self._forecasts.last_jobs([queued.lane.name for queued in chosen])
        found = []
        for queued in chosen:
            in_ms = start_in_ms(outlook, queued.lane, queued.count - 1)
            job_id = jobs.get(queued.lane.name)
            if in_ms is not None and job_id:
                found.append(Forecast(job_id, name, now_ms, now_ms + in_ms))
        return found
