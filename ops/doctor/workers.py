"""Workers: whether each class, processor and model that is asked for has one that lives."""

from collections.abc import Mapping, Sequence

from ops.doctor.examination import Deployment
from ops.doctor.finding import Finding, fine, listed, problem, warning
from ops.settings import VERSION
from streams.directory import ProcessorCard, WorkerCard
from streams.inspector import ClassView
from streams.model import ResourceClass

Cards = Sequence[WorkerCard]


async def check_workers(deployment: Deployment) -> list[Finding]:
    """Compare what is asked for with who lives."""
    engine = deployment.engine
    cards, classes = await engine.directory.workers(), await engine.inspector.classes()
    processors = await engine.directory.processors()
    able = [card for card in cards if card.healthy and not card.draining]
    return [
        *judge_health(cards),
        *judge_classes(able, classes, processors),
        *judge_processors(able, classes, processors),
    ]


def judge_health(cards: Cards) -> list[Finding]:
    """Workers that live but do not work, and those of another version."""
    found = []
    sick = [card.id for card in cards if not card.healthy]
    if sick:
        said = f"not healthy: {listed(sick)}"
        found.append(problem("workers", said, "look at their logs: a blocked loop, or a lost link"))
    others = {card.version for card in cards} - {VERSION}
    if others:
        said = f"workers of version {listed(others)}, while this is {VERSION}"
        found.append(warning("version", said, "bring all to one version"))
    return found


def judge_classes(
    able: Cards, classes: Sequence[ClassView], processors: Mapping[str, ProcessorCard]
) -> list[Finding]:
    """A class that is paused, or that nobody serves."""
    found = []
    for view in classes:
        serving = [card for card in able if card.slots.get(view.name)]
        offered = any(card.resource_class == view.name for card in processors.values())
        if view.paused:
            said = f"class {view.name} is paused, {view.waiting} jobs wait"
            found.append(warning("classes", said, f"roughneck classes resume {view.name}"))
        if serving:
            said = f"class {view.name}: {len(serving)} workers, {view.waiting} jobs wait"
            found.append(fine("workers", said))
        elif view.waiting or view.active:
            said = f"class {view.name} has no worker, and {view.waiting + view.active} jobs"
            start = f"start one: roughneck worker --class {view.name}"
            found.append(problem("workers", said, start))
        elif offered:
            said = f"class {view.name} has no worker"
            start = f"start one: roughneck worker --class {view.name}"
            found.append(warning("workers", said, start))
    if not able and not found:
        found.append(warning("workers", "none lives", "start one: roughneck worker"))
    return found


def judge_processors(
    able: Cards, classes: Sequence[ClassView], processors: Mapping[str, ProcessorCard]
) -> list[Finding]:
    """Lanes that nobody can empty, and processors that nobody has any more."""
    had = {name for card in able for name in card.processors}
    models = {model for card in able for model in card.models}
    found, stuck = [], set[str]()
    for lane in (lane for view in classes for lane in view.lanes if lane.waiting):
        where, name = lane.lane, lane.lane.processor
        if name not in had:
            stuck.add(name)
            said = f"lane {where.name}: no living worker has {name}, {lane.waiting} jobs wait"
            found.append(problem("lanes", said, "start a worker that has it"))
        elif where.resource_class is ResourceClass.OLLAMA and where.model not in models:
            said = f"lane {where.name}: no living host has {where.model}, {lane.waiting} jobs wait"
            pull = "pull the model on a host, or change the alias in `ollama.models`"
            found.append(problem("lanes", said, pull))
    idle = set(processors) - had - stuck
    if idle:
        said = f"published, but no living worker has them: {listed(idle)}"
        remedy = "start a worker that has them, or `roughneck processors forget NAME`"
        found.append(warning("processors", said, remedy))
    return found or [fine("lanes", "everything that waits can be run")]
