"""Moves flows on where no worker does: what was stopped ends, lists are fanned out."""

from streams.flows import FlowStore


class FlowMover:
    """A worker does the same whenever the bell rings; two at once harm nobody."""

    name = "flows"
    every_s = 1.0

    def __init__(self, flows: FlowStore) -> None:
        self._flows = flows

    async def tick(self) -> None:
        """Take what flows have left to do."""
        await self._flows.tick()
