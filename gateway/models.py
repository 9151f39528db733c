"""Models over HTTP: where each is, what is in memory, what loading and answering takes."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Self

import msgspec
from starlette.responses import Response

from gateway.auth import Scope
from gateway.call import Call, Operation, answer
from streams.directory import HostCard, WorkerCard
from streams.inspector import ClassView
from streams.learned import Learned
from streams.model import ResourceClass
from streams.usage import NOTHING, By, UsageRow, day_of, grouped

DAYS = 7  # over which answers and loads are counted


class HostedModel(msgspec.Struct, frozen=True):
    """A model on one host. `resting`: it failed to load and is left alone for a while."""

    alias: str
    tag: str
    digest: str
    size_bytes: int
    num_ctx: int
    resident: bool
    resting: bool


class HostDetail(msgspec.Struct, frozen=True):
    """One Ollama host. `trouble` says why nothing is asked of it now; empty: it works."""

    name: str
    version: str
    trouble: str
    workers: int
    resident: str  # the alias in memory
    models: tuple[HostedModel, ...]

    @classmethod
    def of(cls, cards: Sequence[WorkerCard]) -> Self:
        """The view of the host of these workers, as the newest of them saw it."""
        newest = max(cards, key=lambda card: card.seen_ms)
        host = newest.ollama or HostCard(host_of(newest))
        return cls(
            name=host.name,
            version=host.version,
            trouble=host.trouble,
            workers=len(cards),
            resident=newest.resident,
            models=tuple(
                HostedModel(
                    **msgspec.structs.asdict(model),
                    resident=model.alias == newest.resident,
                    resting=model.alias in host.resting,
                )
                for model in host.models
            ),
        )


class ModelDetail(msgspec.Struct, frozen=True):
    """One alias over all hosts. Counts and speeds are of the last 7 days."""

    alias: str
    waiting: int  # jobs whose lane needs it
    hosts: tuple[str, ...]  # that may be asked for it now
    resident_on: tuple[str, ...]
    load_s: float | None  # how long a load takes; null: never seen
    asks: int
    swaps: int
    tokens_per_s: float


class ModelsView(msgspec.Struct, frozen=True):
    """Hosts, and the models that they have or that jobs need."""

    hosts: tuple[HostDetail, ...]
    models: tuple[ModelDetail, ...]


def models_view(
    workers: Sequence[WorkerCard],
    classes: Sequence[ClassView],
    learned: Learned,
    usage: Sequence[UsageRow],
) -> ModelsView:
    """Everything that is known of models."""
    by_host: dict[str, list[WorkerCard]] = {}
    for card in workers:
        if host_of(card):
            by_host.setdefault(host_of(card), []).append(card)
    hosts = tuple(HostDetail.of(by_host[name]) for name in sorted(by_host))
    waiting: dict[str, int] = {}
    for lane in (lane for view in classes for lane in view.lanes if lane.lane.model):
        waiting[lane.lane.model] = waiting.get(lane.lane.model, 0) + lane.waiting
    used = {row.model: row.usage for row in grouped(usage, [By.MODEL])}
    offered = {name: {m for card in cards for m in card.models} for name, cards in by_host.items()}
    names = {model.alias for host in hosts for model in host.models} | waiting.keys()
    return ModelsView(
        hosts,
        tuple(
            ModelDetail(
                alias=alias,
                waiting=waiting.get(alias, 0),
                hosts=tuple(name for name in sorted(offered) if alias in offered[name]),
                resident_on=tuple(host.name for host in hosts if host.resident == alias),
                load_s=learned.known_load_s(alias),
                asks=used.get(alias, NOTHING).asks,
                swaps=used.get(alias, NOTHING).swaps,
                tokens_per_s=round(used.get(alias, NOTHING).tokens_per_s, 2),
            )
            for alias in sorted(names)
        ),
    )


def host_of(card: WorkerCard) -> str:
    """The Ollama host that a worker is bound to, empty for none."""
    return card.pools.get(ResourceClass.OLLAMA, "").partition("@")[2]


async def read_models(call: Call) -> Response:
    """Hosts with what each has in memory, and models with who waits for them."""
    today = day_of(call.parts.clock.now_ms())
    return answer(
        models_view(
            await call.parts.directory.workers(),
            await call.parts.inspector.classes(),
            await call.parts.learned(),
            await call.parts.usage.rows(today - timedelta(days=DAYS - 1), today),
        )
    )


OPERATIONS = (
    Operation(
        "GET",
        "/v1/models",
        "List models, their hosts, and who waits for them",
        read_models,
        Scope.READ,
        answers={200: ModelsView},
    ),
)
