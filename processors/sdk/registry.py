"""Which processors there are: found at boot, checked, and listed as cards."""

import importlib
import logging
import pkgutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

import msgspec

from processors.sdk.agents import agents_of
from processors.sdk.declaration import Processor, declared, load_file, processors_of
from processors.sdk.named_flow import flows_of
from streams.directory import ProcessorCard
from streams.errors import ConfigError
from streams.model import ResourceClass

BUILTIN = "processors.builtin"
ENTRY_POINTS = "roughneck.processors"
LEFT_OUT = ("_", "test_", "conftest.")  # beginnings of names: parts, and tests that lie beside

log = logging.getLogger(__name__)


class Registry:
    """Processors by name."""

    def __init__(self, processors: Iterable[Processor]) -> None:
        """Raises ConfigError when two have one name, naming both files, or one has no schema."""
        self._by_name: dict[str, Processor] = {}
        for one in processors:
            other = self._by_name.setdefault(one.name, one)
            if other is not one:
                raise ConfigError(
                    f"two processors are named {one.name!r}: "
                    f"{other.origin.file} and {one.origin.file}"
                )
        for one in self:
            card(one, "", 0)  # a type without a JSON Schema shows now

    @classmethod
    def discover(cls, folders: Sequence[Path] = (), *, builtin: str = BUILTIN) -> "Registry":
        """All processors of the built-in package, of installed entry points and of `folders`.

        Imports every module it finds; names with a leading underscore and tests are left out.
        Raises ConfigError naming the file that cannot be imported, or the folder that is not there.
        """
        found = [*_in_package(builtin), *_in_entry_points()]
        for folder in dict.fromkeys(folder.expanduser().resolve() for folder in folders):
            found.extend(_in_folder(folder))
        return cls(found)

    def get(self, name: str) -> Processor | None:
        """The processor of that name, or None."""
        return self._by_name.get(name)

    def of_classes(self, classes: Collection[ResourceClass]) -> "Registry":
        """Only the processors of these resource classes, for a worker that runs no others."""
        return Registry(one for one in self if one.resource_class in classes)

    def cards(self, model_keys: Mapping[str, str], now_ms: int) -> list[ProcessorCard]:
        """What a worker publishes of each; `model_keys` has the lanes' model of each alias.

        Raises ConfigError naming the processor whose model alias is unknown.
        """
        return [card(one, _model_key(one, model_keys), now_ms) for one in self]

    def __iter__(self) -> Iterator[Processor]:
        """The processors by name, in order."""
        return iter(sorted(self._by_name.values(), key=lambda one: one.name))

    def __len__(self) -> int:
        """How many there are."""
        return len(self._by_name)


def card(processor: Processor, model_key: str, now_ms: int) -> ProcessorCard:
    """What is published of `processor`."""
    manifest = processor.manifest
    return ProcessorCard(
        name=manifest.name,
        version=manifest.version,
        summary=manifest.summary,
        resource_class=manifest.resource_class,
        model=model_key,
        attempts_max=manifest.attempts_max,
        timeout_ms=round(manifest.timeout_s * 1000),
        backoff_ms=round(manifest.backoff_s * 1000),
        backoff_max_ms=round(manifest.backoff_max_s * 1000),
        input_schema=msgspec.Raw(processor.input_schema),
        output_schema=msgspec.Raw(processor.output_schema),
        dependencies=manifest.dependencies,
        published_ms=now_ms,
        prompt_version=manifest.prompt_version,
    )


def _model_key(processor: Processor, model_keys: Mapping[str, str]) -> str:
    alias = processor.manifest.model
    if alias and alias not in model_keys:
        known = ", ".join(sorted(model_keys)) or "none"
        raise ConfigError(
            f"processor {processor.name!r}: the model alias {alias!r} is not configured "
            f"(configured: {known})"
        )
    return model_keys[alias] if alias else ""


def _in_package(name: str) -> Iterator[Processor]:
    package = importlib.import_module(name)
    for part in sorted(pkgutil.iter_modules(package.__path__), key=lambda part: part.name):
        if not part.name.startswith(LEFT_OUT):
            yield from processors_of(import_module(f"{name}.{part.name}"))


def _in_entry_points() -> Iterator[Processor]:
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        yield from _in_entry_point(point)


def _in_entry_point(point: EntryPoint) -> list[Processor]:
    try:
        target = point.load()
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"cannot load entry point {point.name!r} = {point.value}: {error!r}"
        ) from error
    if isinstance(target, ModuleType):
        return processors_of(target)
    one = declared(target)
    if one is None:
        raise ConfigError(f"entry point {point.name!r} = {point.value} is no processor")
    return [one]


def _in_folder(folder: Path) -> Iterator[Processor]:
    for module in load_loose(folder):
        found = processors_of(module)
        if not found and not flows_of(module) and not agents_of(module):
            log.warning("no processor in this file", extra={"file": str(module.__file__)})
        yield from found


def load_loose(folder: Path) -> Iterator[ModuleType]:
    """The modules of a folder. Raises ConfigError when it is not there, or one cannot be loaded."""
    if not folder.is_dir():
        raise ConfigError(f"the processor folder {folder} does not exist")
    for file in sorted([*folder.glob("*.py"), *folder.glob("*/__init__.py")]):
        if not file.relative_to(folder).parts[0].startswith(LEFT_OUT):
            yield _load(file)


def import_module(name: str) -> ModuleType:
    """The module of that name. Raises ConfigError naming its file when it cannot be imported."""
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        spec = importlib.util.find_spec(name)
        file = spec.origin if spec is not None else name
        raise ConfigError(f"cannot import {file}: {error!r}") from error


def _load(file: Path) -> ModuleType:
    try:
        return load_file(file)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"cannot import {file}: {error!r}") from error
