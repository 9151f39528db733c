"""`flows`: lets a running stage add stages, over the worker's own link to Redis.

For async functions of class io and ollama, since a child process has no such link.
"""

from collections.abc import Mapping, Sequence

import msgspec

from processors.dependencies import Attempt
from processors.dependencies.adding import Flows
from streams.directory import Directory
from streams.errors import InvalidInput, Rejected
from streams.flow import Flow, PlannedStage, Stage, in_order, planned
from streams.flow_view import FlowReader
from streams.flows import FlowStore
from streams.model import Lease, ResourceClass
from streams.planning import StageDefaults, planned_stages


class AttemptFlows:
    """`Flows` of one attempt: what it adds is fenced by the attempt's token."""

    def __init__(
        self, store: FlowStore, reader: FlowReader, directory: Directory, lease: Lease
    ) -> None:
        self._store = store
        self._reader = reader
        self._directory = directory
        self._lease = lease

    async def add(self, *stages: Stage) -> None:
        """See `Flows`."""
        lease = self._lease
        if not lease.flow:
            raise Rejected("only a stage of a flow can add stages")
        if not stages:
            return
        known = await self._reader.plans(lease.flow)
        own = {stage.name for stage in stages}
        ordered = planned(Flow(stages), known.keys() - own)
        check_together(stages, known)
        cards = await self._directory.processors()
        defaults = StageDefaults(lease.lane.app, lease.lane.priority)
        await self._store.add(lease, planned_stages(ordered, cards, defaults))


def check_together(stages: Sequence[Stage], known: Mapping[str, PlannedStage]) -> None:
    """Raise InvalidInput where new stages and those of the flow would wait for each other."""
    graph = {
        name: Stage(name, plan.lane.processor, plan.after, before=plan.before)
        for name, plan in known.items()
    }
    graph |= {stage.name: stage for stage in stages if stage.name not in known}
    for stage in list(graph.values()):
        for following in stage.before:
            if following not in graph:
                raise InvalidInput(f"{stage.name} comes before {following}, which is no stage")
            later = graph[following]
            after = (*later.after, stage.name)
            graph[following] = msgspec.structs.replace(later, after=after)
    in_order(graph)


class FlowsProvider:
    """Gives every attempt a way to add stages."""

    name = "flows"
    classes = frozenset({ResourceClass.IO, ResourceClass.OLLAMA})

    def __init__(self, store: FlowStore, reader: FlowReader, directory: Directory) -> None:
        self._store = store
        self._reader = reader
        self._directory = directory

    async def open(self) -> None:
        """Nothing to open."""

    async def check(self) -> None:
        """Reachable as the worker's Redis is."""

    def inject(self, attempt: Attempt) -> Flows:
        """The flows of this attempt."""
        return AttemptFlows(self._store, self._reader, self._directory, attempt.lease)

    async def close(self) -> None:
        """Nothing to close."""
