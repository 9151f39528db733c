"""From a flow as it is written to one that runs: lanes and limits from manifests. No I/O."""

from collections.abc import Iterable, Mapping

import msgspec

from streams.directory import ProcessorCard
from streams.errors import UnknownProcessor
from streams.flow import Flow, Limits, PlannedFlow, PlannedStage, Stage, planned, result_stage
from streams.model import Lane, Priority


class StageDefaults(msgspec.Struct, frozen=True):
    """What a stage takes that does not say otherwise; None: what the processor's manifest says."""

    app: str
    priority: Priority = Priority.NORMAL
    attempts_max: int | None = None
    timeout_s: float | None = None


def planned_flow(
    flow: Flow, cards: Mapping[str, ProcessorCard], defaults: StageDefaults
) -> PlannedFlow:
    """The flow, its stages in an order in which each may be stored.

    Raises InvalidInput, or UnknownProcessor naming the stage.
    """
    return PlannedFlow(
        stages=tuple(planned_stages(planned(flow), cards, defaults)),
        input=flow.input,
        result=result_stage(flow),
        deadline_s=flow.deadline_s,
        name=flow.name,
    )


def planned_stages(
    stages: Iterable[Stage], cards: Mapping[str, ProcessorCard], defaults: StageDefaults
) -> list[PlannedStage]:
    """Stages with their lanes and limits. Raises UnknownProcessor naming the stage."""
    return [planned_stage(stage, card_of(stage, cards), defaults) for stage in stages]


def card_of(stage: Stage, cards: Mapping[str, ProcessorCard]) -> ProcessorCard:
    """The manifest of a stage's processor. Raises UnknownProcessor naming the stage."""
    card = cards.get(stage.processor)
    if card is None:
        raise UnknownProcessor(
            f"stage {stage.name}: no worker has published a processor {stage.processor}"
        )
    return card


def planned_stage(stage: Stage, card: ProcessorCard, defaults: StageDefaults) -> PlannedStage:
    """A stage with the lane and limits of its jobs."""
    priority = stage.priority or defaults.priority
    timeout_s = stage.timeout_s or defaults.timeout_s
    limits = Limits(
        attempts_max=stage.attempts_max or defaults.attempts_max or card.attempts_max,
        timeout_ms=round(timeout_s * 1_000) if timeout_s else card.timeout_ms,
        backoff_ms=card.backoff_ms,
        backoff_max_ms=card.backoff_max_ms,
    )
    return PlannedStage(
        name=stage.name,
        lane=Lane(card.resource_class, defaults.app, priority, card.name, card.model),
        limits=limits,
        after=stage.parents,
        before=stage.before,
        payload=payload_of(stage),
        each=stage.each,
        on_failure=stage.on_failure,
    )


def payload_of(stage: Stage) -> object:
    """The input of a stage: where it says nothing its item is it, and without `each` it is `{}`."""
    return {} if stage.payload is None and stage.each is None else stage.payload
