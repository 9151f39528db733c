"""What Prometheus reads of what carries the platform: live workers, their models, Redis itself."""

from collections import Counter
from collections.abc import Iterable, Sequence

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from gateway.engine_metrics import gauge
from streams.directory import WorkerCard
from streams.inspector import ClassView, LaneView
from streams.keyspace import FLOW
from streams.memory import ServerState
from streams.model import ResourceClass


class FleetSnapshot(Collector):
    """The live workers at one moment, and lanes that none of them can serve."""

    def __init__(self, workers: Sequence[WorkerCard], classes: Sequence[ClassView]) -> None:
        self._workers = workers
        self._classes = classes

    def collect(self) -> Iterable[Metric]:
        """All families, once each."""
        yield self._conditions()
        slots = gauge("worker_slots", "Slots of all live workers.", "resource_class")
        running = gauge("worker_running", "Slots of live workers in use.", "resource_class")
        for name in ResourceClass:
            slots.add_metric((name,), sum(card.slots.get(name, 0) for card in self._workers))
            running.add_metric((name,), sum(card.running.get(name, 0) for card in self._workers))
        yield from (slots, running)
        yield from self._models()
        yield self._unserved()

    def _conditions(self) -> Metric:
        family = gauge(
            "workers",
            "Live workers that serve a class, by condition.",
            *("resource_class", "condition"),
        )
        for name in ResourceClass:
            found = Counter(condition(card) for card in self._workers if name in card.slots)
            for word in ("working", "unhealthy", "draining"):
                family.add_metric((name, word), found[word])
        return family

    def _models(self) -> Iterable[Metric]:
        hosts = gauge("model_hosts", "Live workers whose Ollama has the model.", "model")
        resident = gauge("model_resident", "Workers whose Ollama has it in memory now.", "model")
        waiting = gauge("model_waiting", "Jobs that wait for a slot with the model.", "model")
        having = Counter(model for card in self._workers for model in card.models)
        held = Counter(card.resident for card in self._workers)
        wanted: Counter[str] = Counter()
        for lane in (lane for view in self._classes for lane in view.lanes if lane.lane.model):
            wanted[lane.lane.model] += lane.waiting
        for model in sorted(having.keys() | wanted.keys()):
            hosts.add_metric((model,), having[model])
            resident.add_metric((model,), held[model])
            waiting.add_metric((model,), wanted[model])
        return hosts, resident, waiting

    def _unserved(self) -> Metric:
        family = gauge(
            "lanes_unserved",
            "Lanes with waiting jobs that no live worker can take: what is missing is the "
            "processor, or the model.",
            *("resource_class", "missing"),
        )
        for view in self._classes:
            found = Counter(missing(lane, self._workers) for lane in view.lanes if lane.waiting)
            for word in ("processor", "model"):
                family.add_metric((view.name, word), found[word])
        return family


class ServerSnapshot(Collector):
    """Redis' memory, and whether it keeps what it is told."""

    def __init__(self, state: ServerState, read_s: float) -> None:
        self._state = state
        self._read_s = read_s

    def collect(self) -> Iterable[Metric]:
        """All families, once each."""
        state = self._state
        memory = gauge("redis_memory_bytes", "Memory in use, and the limit; 0: none.", "what")
        memory.add_metric(("used",), state.memory.used)
        memory.add_metric(("limit",), state.memory.limit)
        yield memory
        yield gauge(
            "redis_append_only", "1 where Redis keeps a file of every write.", value=state.appends
        )
        yield gauge(
            "redis_writes_to_disk",
            "1 while Redis' last write to its append-only file, or else snapshot, succeeded.",
            value=state.writes,
        )
        yield gauge(
            "redis_scrape_seconds",
            "How long reading Redis for this scrape took.",
            value=self._read_s,
        )


def condition(card: WorkerCard) -> str:
    """One word for how a worker is."""
    if card.draining:
        return "draining"
    return "working" if card.healthy else "unhealthy"


def missing(lane: LaneView, workers: Sequence[WorkerCard]) -> str:
    """What no live worker has for the lane: `processor`, `model`, or nothing."""
    of = lane.lane
    able = [card for card in workers if of.resource_class in card.slots and has(card, of.processor)]
    if not able:
        return "processor"
    if of.model and not any(of.model in card.models for card in able):
        return "model"
    return ""


def has(card: WorkerCard, processor: str) -> bool:
    """Whether a worker runs this processor; the flows' own jobs are run by any of class io."""
    return processor == FLOW or processor in card.processors
