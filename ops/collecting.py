"""When Python looks for garbage in cycles: seldom, and not in what a process is made of."""

import gc

from mode import Service

# Objects made and not yet let go of before the youngest are looked through; then how often that is
# done before the next older ones are, too. A batch of 1,000 jobs has tens of thousands of objects
# in memory at once, and nearly none of them ever is garbage that only a look finds.
THRESHOLDS = (20_000, 20, 50)


class Settled(Service):
    """Start it last: whatever is in memory by then stays for good, and is looked at no more."""

    async def on_start(self) -> None:
        """Set it aside."""
        self._before = gc.get_threshold()
        gc.collect()
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)

    async def on_stop(self) -> None:
        """Have everything looked at as before."""
        gc.unfreeze()
        gc.set_threshold(*self._before)
