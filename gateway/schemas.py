"""Checks payloads against the JSON Schema that a processor's workers published."""

import msgspec
from jsonschema_rs import ValidationError, ValidationErrorKind, Validator, validator_for

from gateway.problems import InvalidFields
from streams.directory import ProcessorCard
from streams.errors import ConfigError

FAULTS_MAX = 20  # of one payload
MESSAGE_MAX = 300  # characters of one fault
MASK = "the value"  # stands for it in the text of a fault
PAYLOAD = "$.payload"


class PayloadSchemas:
    """Compiled schemas of the newest manifests."""

    def __init__(self) -> None:
        self._compiled: dict[str, tuple[bytes, Validator]] = {}

    def check(self, card: ProcessorCard, payload: object) -> None:
        """Raise InvalidFields, with a path for each wrong field, unless `payload` fits."""
        validator = self._validator(card)
        if validator.is_valid(payload):
            return
        found: list[tuple[str, str]] = []
        for error in validator.iter_errors(payload):
            if len(found) == FAULTS_MAX:
                break
            found.append((path_of(error), error.message[:MESSAGE_MAX]))
        raise InvalidFields(found)

    def _validator(self, card: ProcessorCard) -> Validator:
        schema = bytes(card.input_schema)
        known = self._compiled.get(card.name)
        if known is not None and known[0] == schema:
            return known[1]
        try:
            # Offline: a schema may not make the gateway fetch what it refers to.
            # Masked: a payload is nowhere quoted, so that it reaches no log of a client or a proxy.
            validator = validator_for(msgspec.json.decode(schema), offline=True, mask=MASK)
        except (ValueError, msgspec.DecodeError) as error:
            raise ConfigError(f"the input schema of {card.name} cannot be used") from error
        self._compiled[card.name] = (schema, validator)
        return validator


def path_of(error: ValidationError) -> str:
    """The JSON path of the bad field, the missing one included: `$.payload.pages[3].url`."""
    path = PAYLOAD + "".join(map(_step, error.instance_path))
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
