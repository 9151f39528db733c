"""Says that this worker lives, what it offers and what it runs."""

from collections.abc import Callable

from streams.directory import Directory, WorkerCard


class Announcer:
    """A worker that has not announced itself for a minute counts as gone."""

    name = "announcer"
    every_s = 5.0

    def __init__(self, directory: Directory, describe: Callable[[], WorkerCard]) -> None:
        self._directory = directory
        self._describe = describe

    async def tick(self) -> None:
        """Announce once."""
        await self._directory.announce_worker(self._describe())
