"""A named flow in code: what a module says of one, checked when it is made."""

from types import ModuleType

import msgspec

from processors.sdk.manifest import NAME, SUMMARY_MAX, VERSION
from streams.errors import ConfigError, InvalidInput
from streams.flow import Flow, Stage, planned, references
from streams.keyspace import FLOW

DEADLINE_MAX_S = 30 * 86_400.0


class NamedFlow(msgspec.Struct, frozen=True, kw_only=True):
    """A flow that apps submit by its name. Raises ConfigError, naming flow and fault.

    What its stages depend on stands in its input: a stage fans out over a list with `each`, and one
    that finds out at run time what is to be done adds stages by the dependency `flows`.
    """

    name: str  # unique, as a processor's, and none of theirs
    version: str
    summary: str  # one line, as in the list of named flows
    input: type[msgspec.Struct]
    stages: tuple[Stage, ...]
    result: str = ""  # the stage whose result is the flow's; default: the last one
    deadline_s: float = 7 * 86_400.0

    def __post_init__(self) -> None:
        """Check every field, and that the stages are a flow."""
        if not NAME.fullmatch(self.name) or self.name == FLOW:
            raise ConfigError(f"flow {self.name!r}: name must match {NAME.pattern}, not {FLOW}")
        if not VERSION.fullmatch(self.version):
            raise ConfigError(f"flow {self.name!r}: version must match {VERSION.pattern}")
        if not 0 < len(self.summary.strip()) <= SUMMARY_MAX or "\n" in self.summary:
            raise ConfigError(f"flow {self.name!r}: summary must be one line")
        if not 0 < self.deadline_s <= DEADLINE_MAX_S:
            raise ConfigError(f"flow {self.name!r}: deadline_s must be over 0 and at most 30 days")
        try:
            planned(self.flow)
            self._check_paths()
        except InvalidInput as error:
            raise ConfigError(f"flow {self.name!r}: {error}") from None

    @property
    def flow(self) -> Flow:
        """The flow without an input."""
        return Flow(self.stages, None, self.result, self.deadline_s, self.name)

    def _check_paths(self) -> None:
        """Whether the stages refer only to fields that the input has."""
        fields = {field.encode_name for field in msgspec.structs.fields(self.input)}
        for stage in self.stages:
            paths = [path for kind, _, path in references(stage.payload) if kind == "$input"]
            if stage.each is not None and not stage.each.result:
                paths.append(stage.each.path)
            for path in paths:
                first = path.split("/")[1] if path else ""
                if path and first not in fields:
                    raise InvalidInput(f"{stage.name} refers to {path}, which no input has")


def flows_of(module: ModuleType) -> list[NamedFlow]:
    """The flows that a module names."""
    return [value for value in vars(module).values() if isinstance(value, NamedFlow)]
