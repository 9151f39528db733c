"""Builders: values that tests need, with only what matters to a test spelled out."""

from collections.abc import Sequence
from typing import Any

from streams.broker import Broker
from streams.ids import new_job_id
from streams.model import Lane, Lease, NewJob, Priority, ResourceClass, Take, Taken

PROCESSORS = ("echo", "fetch", "ask")
_made = iter(range(1, 10**9))


def lane(
    resource_class: str = "io",
    app: str = "etyde",
    priority: str = "normal",
    processor: str = "echo",
    model: str = "",
) -> Lane:
    return Lane(ResourceClass(resource_class), app, Priority(priority), processor, model)


def new_job(payload: bytes = b"{}", **fields: Any) -> NewJob:
    """A job; `lane` fields (app, priority, ...) may be given directly."""
    names = ("resource_class", "app", "priority", "processor", "model")
    place = {name: fields.pop(name) for name in names if name in fields}
    fields.setdefault("id", new_job_id(next(_made)))
    return NewJob(lane=lane(**place), payload=payload, **fields)


class Hand:
    """A worker's side of the broker, by hand: numbers its calls, keeps its leases."""

    def __init__(self, broker: Broker, name: str = "w", resource_class: str = "io", **fields: Any):
        self.broker = broker
        self.id = f"host-1-{name}"
        self.resource_class = ResourceClass(resource_class)
        self.fields = fields
        self.pool = fields.pop("pool", resource_class)
        self.sequence = 0

    def call(self, slots: int, **fields: Any) -> Take:
        given = {"processors": PROCESSORS, **self.fields, **fields}
        return Take(
            worker=self.id,
            sequence=self.sequence,
            resource_class=self.resource_class,
            pool=self.pool,
            slots=slots,
            **given,
        )

    async def ask(self, slots: int = 1, **fields: Any) -> Taken:
        self.sequence += 1
        return await self.broker.take(self.call(slots, **fields))

    async def take(self, slots: int = 1, **fields: Any) -> Sequence[Lease]:
        return (await self.ask(slots, **fields)).leases
