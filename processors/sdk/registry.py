"""Which processors there are: found at boot, checked, and listed as cards."""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from processors.sdk.agents import agents_of
from processors.sdk.declaration import Processor, declared, processors_of
from processors.sdk.discovery import in_entry_points, load_loose, modules_in
from processors.sdk.named_flow import flows_of
from streams.directory import ProcessorCard
from streams.errors import ConfigError
from streams.model import ResourceClass

BUILTIN = "processors.builtin"
ENTRY_POINTS = "roughneck.processors"

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
        found = [one for module in modules_in(builtin) for one in processors_of(module)]
        found += in_entry_points(ENTRY_POINTS, "processor", processors_of, declared)
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


def _in_folder(folder: Path) -> Iterator[Processor]:
    for module in load_loose(folder):
        found = processors_of(module)
        if not found and not flows_of(module) and not agents_of(module):
            log.warning("no processor in this file", extra={"file": str(module.__file__)})
        yield from found
