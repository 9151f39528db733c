"""Flows, decided: what a flow is, whether it can be, and what its stages are given. No I/O.

A flow is an acyclic graph of stages. A stage is a job that starts when the stages before it have
ended; one with `each` becomes one job for every item of a list. Inputs refer to what is not known
yet, anywhere in a payload:

    {"$result": "fetch", "path": "/pages"}   the result of a stage before this one, or a part of it
    {"$input": "/since"}                     the flow's own input
    {"$item": "/url"}                        in a stage with `each`: its item

Paths are JSON Pointers (RFC 6901); an empty one means the whole. The result of a stage with `each`
is the list of its jobs' results, null for those that did not succeed.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from streams.errors import InvalidInput
from streams.ids import job_id_for_key
from streams.model import Lane, Priority

STAGES_MAX = 10_000
ITEMS_MAX = 10_000
NAME = re.compile(r"^[a-z0-9][a-z0-9_-]{0,63}$")
REFERENCES = ("$result", "$input", "$item")


class OnFailure(StrEnum):
    """What the failure of a stage means for its flow."""

    FAIL = "fail"  # the flow stops and is dead
    CONTINUE = "continue"  # the stages after it go on without its result
    SKIP = "skip"  # the stages after it are skipped


class Limits(msgspec.Struct, frozen=True, omit_defaults=True):
    """The limits of a job's attempts, as in NewJob."""

    attempts_max: int = 3
    timeout_ms: int = 60_000
    backoff_ms: int = 1_000
    backoff_max_ms: int = 300_000


class Each(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The list that a stage fans out over: a part of a stage's result, or of the flow's input."""

    result: str = ""  # the stage; empty: the flow's input
    path: str = ""


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One step of a flow."""

    name: str
    processor: str
    after: tuple[str, ...] = ()
    payload: Any = None  # None: the item where there is `each`, else {}
    each: Each | None = None
    on_failure: OnFailure = OnFailure.FAIL
    priority: Priority | None = None  # None: the flow's
    attempts_max: int | None = None  # None: the manifest's
    timeout_s: float | None = None
    before: tuple[str, ...] = ()  # stages of the running flow that shall wait for this one too

    @property
    def parents(self) -> tuple[str, ...]:
        """The stages before this one: those named, and those that its input refers to."""
        referred = [name for kind, name, _ in references(self.payload) if kind == "$result"]
        fanned = [self.each.result] if self.each and self.each.result else []
        return tuple(dict.fromkeys((*self.after, *fanned, *referred)))


class Flow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A flow as it is submitted."""

    stages: tuple[Stage, ...]
    input: Any = None
    result: str = ""  # the stage whose result is the flow's; default: the last one, if there is one
    deadline_s: float = 7 * 86_400.0  # then it is stopped
    name: str = ""


def references(payload: Any) -> Iterator[tuple[str, str, str]]:
    """Every reference in a payload as (kind, stage, path). Raises InvalidInput for a broken one."""
    if isinstance(payload, dict):
        kind = next((key for key in payload if key in REFERENCES), None)
        if kind is not None:
            yield reference(payload, kind)
            return
        payload = list(payload.values())
    if isinstance(payload, list):
        for part in payload:
            yield from references(part)


def reference(found: Mapping[str, Any], kind: str) -> tuple[str, str, str]:
    """One reference. Raises InvalidInput when it has other fields or no text."""
    first, path = found[kind], found.get("path", "")
    allowed = {kind, "path"} if kind == "$result" else {kind}
    if not isinstance(first, str) or not isinstance(path, str) or set(found) - allowed:
        raise InvalidInput(
            f"{kind} takes a text and nothing else: {msgspec.json.encode(found).decode()[:100]}"
        )
    stage, path = (first, path) if kind == "$result" else ("", first)
    if path and not path.startswith("/"):
        raise InvalidInput(f"{path!r} is no JSON Pointer: it must begin with /")
    return kind, stage, path


# ------------------------------------------------------------------ may this flow be


def planned(flow: Flow, known: Iterable[str] = ()) -> list[Stage]:
    """The stages, each after those before it. `known` are stages that a running flow has already.

    Raises InvalidInput naming the stage and the reason: no stage, too many, a name twice or not a
    name, an unknown stage before it, a cycle, a reference that cannot be.
    """
    known = frozenset(known)
    if not flow.stages:
        raise InvalidInput("a flow needs at least one stage")
    if len(flow.stages) + len(known) > STAGES_MAX:
        raise InvalidInput(f"a flow has at most {STAGES_MAX} stages")
    by_name: dict[str, Stage] = {}
    for stage in flow.stages:
        if not NAME.match(stage.name):
            raise InvalidInput(f"{stage.name!r} is no name for a stage: a-z, 0-9, - and _")
        if stage.name in by_name or stage.name in known:
            raise InvalidInput(f"two stages are named {stage.name}")
        by_name[stage.name] = stage
    names = by_name.keys() | known
    for stage in flow.stages:
        check_stage(stage, names)
    ordered = in_order(by_name)
    if flow.result and flow.result not in by_name:
        raise InvalidInput(f"result: there is no stage {flow.result}")
    return ordered


def check_stage(stage: Stage, names: Collection[str]) -> None:
    """Whether a stage refers only to what there is. Raises InvalidInput."""
    for parent in stage.parents:
        if parent == stage.name:
            raise InvalidInput(f"{stage.name} comes after itself")
        if parent not in names:
            raise InvalidInput(f"{stage.name} comes after {parent}, which is no stage of the flow")
    for kind, _, _ in references(stage.payload):
        if kind == "$item" and stage.each is None:
            raise InvalidInput(f"{stage.name} refers to an item but has no `each`")


def in_order(by_name: Mapping[str, Stage]) -> list[Stage]:
    """Each stage after its parents, otherwise as given. Raises InvalidInput naming a cycle."""
    waits = {name: sum(p in by_name for p in stage.parents) for name, stage in by_name.items()}
    following: dict[str, list[str]] = {}
    for name, stage in by_name.items():
        for parent in stage.parents:
            following.setdefault(parent, []).append(name)
    ready = [name for name, count in waits.items() if count == 0]
    for name in ready:
        for after in following.get(name, ()):
            waits[after] -= 1
            if waits[after] == 0:
                ready.append(after)
    if len(ready) < len(by_name):
        stuck = sorted(name for name, count in waits.items() if count)
        raise InvalidInput(f"a cycle: {', '.join(stuck[:10])} wait for each other")
    return [by_name[name] for name in ready]


def result_stage(flow: Flow) -> str:
    """The stage whose result is the flow's: the one named, else the only one nothing follows."""
    if flow.result:
        return flow.result
    parents = {parent for stage in flow.stages for parent in stage.parents}
    last = [stage.name for stage in flow.stages if stage.name not in parents]
    return last[0] if len(last) == 1 else ""


class PlannedStage(msgspec.Struct, frozen=True, omit_defaults=True):
    """A stage as the engine runs it: its job's lane and limits are decided."""

    name: str
    lane: Lane
    limits: Limits
    after: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    payload: Any = None  # with its references
    each: Each | None = None
    on_failure: OnFailure = OnFailure.FAIL
    trace: str = ""


class PlannedFlow(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the job of a flow has as its input: stages in an order in which each may be stored."""

    stages: tuple[PlannedStage, ...]
    input: Any = None
    result: str = ""
    deadline_s: float = 0.0
    name: str = ""


# ------------------------------------------------------------------ what a stage is given


def stage_job(flow_id: str, stage: str, index: int | None = None) -> str:
    """The id of a stage's job; of a stage with `each`, that of its item `index`."""
    return job_id_for_key(f"flow:{flow_id}", stage if index is None else f"{stage}:{index}")


def pointed(value: Any, path: str) -> Any:
    """The part of a JSON value at a JSON Pointer. Raises InvalidInput when there is none."""
    for raw in path.split("/")[1:]:
        key = raw.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            raise InvalidInput(f"there is nothing at {path}")
    return value


def resolved(payload: Any, results: Mapping[str, Any], given: Any, item: Any = None) -> Any:
    """A payload with its references replaced. Raises InvalidInput for what is not there."""
    if isinstance(payload, dict):
        kind = next((key for key in payload if key in REFERENCES), None)
        if kind is None:
            return {key: resolved(part, results, given, item) for key, part in payload.items()}
        _, stage, path = reference(payload, kind)
        source = {"$result": results.get(stage), "$input": given, "$item": item}[kind]
        # A stage that failed has no result, and on_failure = continue says to go on without it.
        return None if source is None and kind == "$result" else pointed(source, path)
    if isinstance(payload, list):
        return [resolved(part, results, given, item) for part in payload]
    return payload


def fanned(each: Each, results: Mapping[str, Any], given: Any) -> Sequence[Any]:
    """The items that a stage fans out over. Raises InvalidInput for no list, or too long a one."""
    source = results.get(each.result) if each.result else given
    items = pointed(source, each.path)
    if not isinstance(items, list):
        where = f"the result of {each.result}" if each.result else "the flow's input"
        raise InvalidInput(f"{where}{' at ' + each.path if each.path else ''} is no list")
    if len(items) > ITEMS_MAX:
        raise InvalidInput(f"{len(items)} items: at most {ITEMS_MAX} can be fanned out")
    return items
