"""Whether the stages of a flow can run: their processors, and their inputs as far as known. No I/O.

An input that refers to nothing, or only to the flow's own input, is known whole and is checked as a
job's payload would be. Of one that refers to results the rest is checked, and each reference by
what the schemas say.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from jsonschema_rs import ValidationError, ValidationErrorKind

from gateway.fitting import Shape, clash, part, shape_of
from gateway.problems import InvalidFields
from gateway.schemas import FAULTS_MAX, MESSAGE_MAX, PayloadSchemas, path_of
from streams.directory import ProcessorCard, WorkerCard
from streams.errors import InvalidInput
from streams.flow import REFERENCES, Each, OnFailure, Stage, fanned, pointed, reference
from streams.planning import card_of, payload_of

WARNINGS_MAX = 20
ITEM_NAMED_MAX = 3  # wrong items of one fan-out that are told
# What an error of an object or list says that stays true whatever its references turn out to be.
CERTAIN = (
    ValidationErrorKind.Required,
    ValidationErrorKind.AdditionalProperties,
    ValidationErrorKind.MinItems,
    ValidationErrorKind.MaxItems,
    ValidationErrorKind.MinProperties,
    ValidationErrorKind.MaxProperties,
    ValidationErrorKind.Type,
)

Place = tuple[str | int, ...]


class Referring(msgspec.Struct, frozen=True):
    """A reference in a payload whose value comes later: where it stands and what it means."""

    place: Place
    kind: str
    stage: str
    path: str


class StageChecks:
    """Checks the stages of one flow. `given` is the flow's input."""

    def __init__(
        self,
        stages: Sequence[Stage],
        cards: Mapping[str, ProcessorCard],
        schemas: PayloadSchemas,
        given: Any,
    ) -> None:
        self._stages = {stage.name: stage for stage in stages}
        self._cards = cards
        self._schemas = schemas
        self._given = given
        self.warnings: list[str] = []

    def check(self, stage: Stage, root: str) -> None:
        """Raise UnknownProcessor, or InvalidFields with paths that begin with `root`."""
        card = card_of(stage, self._cards)
        try:
            items = self._items(stage)
        except InvalidInput as error:
            raise self._fault(stage, f"{root}.each", str(error)) from None
        payload = payload_of(stage)
        if payload is None:
            payload = {"$item": ""}
        if items is None:
            self._check_one(stage, card, payload, f"{root}.payload")
            return
        wrong: list[tuple[str, str]] = []
        for index, item in enumerate(items):
            try:
                self._check_one(stage, card, payload, f"{root}.payload", item=item, known=True)
            except InvalidFields as error:
                wrong += [(path, f"{said} (item {index})") for path, said in error.faults]
            if len(wrong) >= ITEM_NAMED_MAX:
                break
        if wrong:
            raise InvalidFields(wrong[:FAULTS_MAX])

    # ------------------------------------------------------------------ what it fans out over

    def _items(self, stage: Stage) -> Sequence[Any] | None:
        """The items, where the flow's input has them; None: they come later, or there are none."""
        if stage.each is None:
            return None
        if not stage.each.result:
            return fanned(stage.each, {}, self._given)
        self._item_shape(stage.each)
        return None

    def _item_shape(self, each: Each) -> Shape:
        """What an item may be; a null in a list of results is none. Raises InvalidInput."""
        if self._stages[each.result].each is not None and not each.path:
            return shape_of(card_of(self._stages[each.result], self._cards).output_schema)
        whole, _ = self._result_of(each.result)
        where = f"the result of {each.result}{' at ' + each.path if each.path else ''}"
        found, _ = part(whole, each.path)
        if found is None:
            raise InvalidInput(f"there can be nothing at {where}")
        if found.kinds is not None and "array" not in found.kinds:
            raise InvalidInput(f"{where} is no list")
        return found.item()

    def _result_of(self, name: str) -> tuple[Shape, bool]:
        """What a stage's result may be, and whether the flow goes on though there is none."""
        stage = self._stages[name]
        shape = shape_of(card_of(stage, self._cards).output_schema)
        goes_on = stage.on_failure is OnFailure.CONTINUE
        if stage.each is None:
            return shape, goes_on
        return (shape.or_null() if goes_on else shape).listed(), False

    # ------------------------------------------------------------------ what it is given

    def _check_one(
        self,
        stage: Stage,
        card: ProcessorCard,
        payload: Any,
        root: str,
        *,
        item: Any = None,
        known: bool = False,
    ) -> None:
        try:
            filled = self._filled(payload, item, known=known)
            later = list(later_of(filled))
        except InvalidInput as error:
            raise self._fault(stage, root, str(error)) from None
        found = [
            (path_of(error, root), f"stage {stage.name}: {error.message[:MESSAGE_MAX]}")
            for error in self._schemas.errors(card, filled)
            if is_certain(error, later)
        ]
        if found:
            raise InvalidFields(found[:FAULTS_MAX])
        wanted = shape_of(card.input_schema) if later else None
        for one in later:
            assert wanted is not None
            self._check_later(stage, one, wanted, root)

    def _filled(self, payload: Any, item: Any, *, known: bool) -> Any:
        """The payload with what is known by now: the flow's input, and the item where it is."""
        if isinstance(payload, list):
            return [self._filled(one, item, known=known) for one in payload]
        if not isinstance(payload, dict):
            return payload
        kind = next((key for key in payload if key in REFERENCES), None)
        if kind is None:
            return {name: self._filled(one, item, known=known) for name, one in payload.items()}
        _, _, path = reference(payload, kind)
        if kind == "$input":
            return _pointed("the flow's input", self._given, path)
        return _pointed("the item", item, path) if kind == "$item" and known else payload

    def _check_later(self, stage: Stage, one: Referring, wanted: Shape, root: str) -> None:
        """One reference whose value comes later. Raises InvalidFields, or warns."""
        where = root + "".join(map(_step, one.place))
        if one.kind == "$item":
            source, goes_on, name = self._item_shape(stage.each or Each()), False, "an item"
        else:
            source, goes_on = self._result_of(one.stage)
            name = f"the result of {one.stage}"
        name = f"{name} at {one.path}" if one.path else name
        found, declared = part(source, one.path)
        if found is None:
            raise self._fault(stage, where, f"there can be nothing in {name}")
        if not declared:
            self._warn(f"stage {stage.name}: nothing is declared of {name}")
        takes, _ = part(wanted, "".join(f"/{_escaped(step)}" for step in one.place))
        if takes is None:
            return  # the schema's own check has said so
        if why := clash(found, takes):
            raise self._fault(stage, where, f"{name} {why}")
        may_be_null = goes_on or "null" in (found.kinds or ())
        if may_be_null and "null" not in (takes.kinds or {"null"}):
            self._warn(f"stage {stage.name}: {name} may be null, which it does not take")

    def _fault(self, stage: Stage, path: str, message: str) -> InvalidFields:
        return InvalidFields([(path, f"stage {stage.name}: {message}")])

    def _warn(self, sentence: str) -> None:
        if len(self.warnings) < WARNINGS_MAX and sentence not in self.warnings:
            self.warnings.append(sentence)


def unserved(stages: Sequence[Stage], workers: Sequence[WorkerCard]) -> list[str]:
    """A warning for each processor that no live worker has."""
    living = {name for worker in workers for name in worker.processors}
    waiting: dict[str, list[str]] = {}
    for stage in stages:
        if stage.processor not in living:
            waiting.setdefault(stage.processor, []).append(stage.name)
    return [
        f"no live worker has {processor}: {', '.join(names[:5])} will wait"
        for processor, names in waiting.items()
    ][:WARNINGS_MAX]


def later_of(payload: Any, place: Place = ()) -> Iterator[Referring]:
    """The references in a payload, with their places. Raises InvalidInput for a broken one."""
    if isinstance(payload, dict):
        kind = next((key for key in payload if key in REFERENCES), None)
        if kind is not None:
            yield Referring(place, *reference(payload, kind))
            return
        for name, one in payload.items():
            yield from later_of(one, (*place, name))
    elif isinstance(payload, list):
        for index, one in enumerate(payload):
            yield from later_of(one, (*place, index))


def is_certain(error: ValidationError, later: Sequence[Referring]) -> bool:
    """Whether an error stays one whatever the references turn out to be."""
    at = tuple(error.instance_path)
    for one in later:
        if at[: len(one.place)] == one.place:
            return False
        if one.place[: len(at)] == at and not isinstance(error.kind, CERTAIN):
            return False
    return True


def _pointed(what: str, value: Any, path: str) -> Any:
    try:
        return pointed(value, path)
    except InvalidInput:
        raise InvalidInput(f"{what} has nothing at {path}") from None


def _step(part_of: str | int) -> str:
    return f"[{part_of}]" if isinstance(part_of, int) else f".{part_of}"


def _escaped(step: str | int) -> str:
    return str(step).replace("~", "~0").replace("/", "~1")
