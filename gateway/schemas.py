"""Checks payloads against the JSON Schema that workers published of a processor or a flow."""

from collections.abc import Iterator

import msgspec
from jsonschema_rs import ValidationError, ValidationErrorKind, Validator, validator_for

from gateway.problems import InvalidFields
from streams.blobs import references
from streams.directory import FlowCard, ProcessorCard
from streams.errors import ConfigError

FAULTS_MAX = 20  # of one payload
MESSAGE_MAX = 300  # characters of one fault
MASK = "the value"  # stands for it in the text of a fault
PAYLOAD = "$.payload"

Card = ProcessorCard | FlowCard


class PayloadSchemas:
    """Compiled schemas of the newest manifests."""

    def __init__(self) -> None:
        self._compiled: dict[tuple[type, str], tuple[Card, Validator]] = {}

    def check(self, card: Card, payload: object, root: str = PAYLOAD) -> None:
        """Raise InvalidFields, with a path for each wrong field, unless `payload` fits.

        The paths begin with `root`.
        """
        if self._validator(card).is_valid(payload):
            return
        found: list[tuple[str, str]] = []
        for error in self.errors(card, payload):
            if len(found) == FAULTS_MAX:
                break
            found.append((path_of(error, root), error.message[:MESSAGE_MAX]))
        if found:
            raise InvalidFields(found)

    def errors(self, card: Card, payload: object) -> Iterator[ValidationError]:
        """Everything in which `payload` does not fit, but what a blob holds: workers see that."""
        validator = self._validator(card)
        if validator.is_valid(payload):
            return
        blobs = [place for place, _ in references(payload)]
        for error in validator.iter_errors(payload):
            path = tuple(error.instance_path)
            if not any(path[: len(place)] == place[: len(path)] for place in blobs):
                yield error

    def _validator(self, card: Card) -> Validator:
        key = (type(card), card.name)
        known = self._compiled.get(key)
        if known is not None and known[0] is card:
            return known[1]
        schema = bytes(card.input_schema)
        if known is not None and bytes(known[0].input_schema) == schema:
            self._compiled[key] = (card, known[1])  # read anew, and the same
            return known[1]
        try:
            # Offline: a schema may not make the gateway fetch what it refers to.
            # Masked: a payload is nowhere quoted, so that it reaches no log of a client or a proxy.
            validator = validator_for(msgspec.json.decode(schema), offline=True, mask=MASK)
        except (ValueError, msgspec.DecodeError) as error:
            raise ConfigError(f"the input schema of {card.name} cannot be used") from error
        self._compiled[key] = (card, validator)
        return validator


def path_of(error: ValidationError, root: str = PAYLOAD) -> str:
    """The JSON path of the bad field, the missing one included: `$.payload.pages[3].url`."""
    path = root + "".join(map(_step, error.instance_path))
    match error.kind:
        case ValidationErrorKind.Required(property=name):
            return path + _step(str(name))
        case ValidationErrorKind.AdditionalProperties(unexpected=[name, *_]):
            return path + _step(name)
    return path


def _step(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part}" if part.isidentifier() else f"[{msgspec.json.encode(part).decode()}]"
