"""What Prometheus reads of a worker's models: loads, speed, repairs, and what came of no model."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from streams.telemetry import AttemptJudged, Happening, ModelAsked

LOAD_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300)
FIRST_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60)


class ModelMetrics:
    """Listens to a worker's telemetry. Labels are aliases of models, and processors."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._loads = self._histogram(
            "model_load_seconds", "How long loads of a model took.", LOAD_BUCKETS
        )
        self._first = self._histogram(
            "model_first_token_seconds",
            "From the question to the first piece of its answer, loading apart.",
            FIRST_BUCKETS,
        )
        both = ("model", "processor")
        self._asks = self._counter("model_asks", "Questions to a model.", *both)
        self._repairs = self._counter(
            "model_repairs", "Questions that ask to mend an answer, or ask anew.", *both
        )
        self._tokens = self._counter(
            "model_tokens", "Tokens that a model read or wrote.", *both, "kind"
        )
        self._eval_s = self._counter(
            "model_eval_seconds", "Time in which a model read or wrote.", *both, "kind"
        )
        self._cached = self._counter("results_cached", "Results that needed no model.", "processor")

    def __call__(self, happening: Happening) -> None:
        """Count one happening."""
        match happening:
            case ModelAsked():
                self._asked(happening)
            case AttemptJudged(lease=lease, usage=usage) if usage.cached:
                self._cached.labels(lease.lane.processor).inc(usage.cached)

    def _asked(self, asked: ModelAsked) -> None:
        usage, model = asked.usage, asked.lease.lane.model
        both = (model, asked.lease.lane.processor)
        if usage.swaps:
            self._loads.labels(model).observe(usage.load_s / usage.swaps)
        if asked.first_s is not None:
            self._first.labels(model).observe(asked.first_s)
        self._asks.labels(*both).inc(usage.asks)
        self._repairs.labels(*both).inc(usage.repairs)
        self._tokens.labels(*both, "prompt").inc(usage.prompt_tokens)
        self._tokens.labels(*both, "completion").inc(usage.completion_tokens)
        self._eval_s.labels(*both, "prompt").inc(usage.prompt_eval_s)
        self._eval_s.labels(*both, "completion").inc(usage.eval_s)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"roughneck_{name}", what, labels, registry=self._registry)

    def _histogram(self, name: str, what: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(
            f"roughneck_{name}", what, ("model",), buckets=buckets, registry=self._registry
        )
