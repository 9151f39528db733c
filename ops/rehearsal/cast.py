"""What is rehearsed: a processor, or a named flow with the processors of its stages."""

import difflib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from processors.sdk.declaration import Processor, load_file, processors_of
from processors.sdk.flows import discover_flows
from processors.sdk.named_flow import NamedFlow, flows_of
from processors.sdk.registry import Registry
from streams.errors import ConfigError, InvalidInput, UnknownProcessor


class Cast(msgspec.Struct, frozen=True):
    """Who plays: one processor, or all those of a flow."""

    name: str
    version: str
    processors: tuple[Processor, ...]
    flow: NamedFlow | None = None

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where the code lies, and so its samples."""
        return tuple(dict.fromkeys(Path(one.origin.file).parent for one in self.processors))

    def check(self, payload: bytes) -> None:
        """Raise InvalidInput, with the path of the field, for an input that does not fit."""
        wanted = self.flow.input if self.flow else self.processors[0].input_type
        try:
            msgspec.json.decode(payload, type=wanted)
        except (ValueError, RecursionError) as error:
            message, _, path = str(error).partition(" - at `")
            raise InvalidInput(message, path.rstrip("`") or "$") from error


def find_cast(name: str, folders: Sequence[Path] = ()) -> Cast:
    """The processor or flow of that name, or that a file `*.py` holds.

    Raises UnknownProcessor, with the names that are nearest, and ConfigError for a file that
    cannot be imported or holds not exactly one.
    """
    registry, flows = Registry.discover(folders), discover_flows(folders)
    if name.endswith(".py"):
        return in_file(Path(name), registry)
    processor = registry.get(name)
    if processor is not None:
        return of_processor(processor)
    for flow in flows:
        if flow.name == name:
            return of_flow(flow, registry)
    known = [*(one.name for one in registry), *(flow.name for flow in flows)]
    near = difflib.get_close_matches(name, known, 3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
    raise UnknownProcessor(f"no processor and no flow is named {name!r}; {hint}")


def in_file(file: Path, registry: Registry) -> Cast:
    """What one file holds; processors of its flow may be elsewhere."""
    path = file.expanduser().resolve()
    if not path.is_file():
        raise ConfigError(f"there is no file {file}")
    try:
        module = load_file(path)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"cannot import {file}: {error!r}") from error
    processors, flows = processors_of(module), flows_of(module)
    known = {one.name: one for one in [*registry, *processors]}
    if len(flows) == 1:
        return of_flow(flows[0], Registry(known.values()))
    if len(processors) == 1:
        return of_processor(processors[0])
    names = ", ".join([one.name for one in processors] + [flow.name for flow in flows])
    raise ConfigError(f"{file} holds {names or 'no processor'}; it takes exactly one")


def of_processor(processor: Processor) -> Cast:
    """One processor alone."""
    return Cast(processor.name, processor.manifest.version, (processor,))


def of_flow(flow: NamedFlow, registry: Registry) -> Cast:
    """A flow with its processors. Raises ConfigError naming those that are not installed."""
    names = dict.fromkeys(stage.processor for stage in flow.stages)
    missing = [name for name in names if registry.get(name) is None]
    if missing:
        raise ConfigError(f"flow {flow.name!r} needs {', '.join(missing)}, not installed here")
    found = tuple(one for name in names if (one := registry.get(name)) is not None)
    return Cast(flow.name, flow.version, found, flow)
