"""Which agents there are: found at boot beside the processors."""

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from processors.sdk.agents import Agent, agents_of, declared_agent
from processors.sdk.registry import LEFT_OUT, import_module, load_loose
from streams.errors import ConfigError

BUILTIN = "processors.agents"
ENTRY_POINTS = "roughneck.agents"


def discover_agents(folders: Sequence[Path] = (), *, builtin: str = BUILTIN) -> list[Agent]:
    """All agents of the built-in package, of installed entry points and of `folders`, by name.

    Raises ConfigError naming what cannot be imported, or two agents of one name.
    """
    found = [*_in_package(builtin), *_in_entry_points()]
    for folder in dict.fromkeys(folder.expanduser().resolve() for folder in folders):
        for module in load_loose(folder):
            found += agents_of(module)
    by_name: dict[str, Agent] = {}
    for one in found:
        if by_name.setdefault(one.name, one) is not one:
            raise ConfigError(f"two agents are named {one.name!r}")
    return [by_name[name] for name in sorted(by_name)]


def _in_package(name: str) -> Iterator[Agent]:
    package = importlib.import_module(name)
    for part in sorted(pkgutil.iter_modules(package.__path__), key=lambda part: part.name):
        if not part.name.startswith(LEFT_OUT):
            yield from agents_of(import_module(f"{name}.{part.name}"))


def _in_entry_points() -> Iterator[Agent]:
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        try:
            target = point.load()
        except (Exception, SystemExit) as error:
            raise ConfigError(
                f"cannot load entry point {point.name!r} = {point.value}: {error!r}"
            ) from error
        found = agents_of(target) if isinstance(target, ModuleType) else [declared_agent(target)]
        for one in found:
            if one is None:
                raise ConfigError(f"entry point {point.name!r} = {point.value} is no agent")
            yield one
