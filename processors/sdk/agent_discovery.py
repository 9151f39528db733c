"""Which agents there are: found at boot beside the processors."""

from collections.abc import Sequence
from pathlib import Path

from processors.sdk.agents import Agent, agents_of, declared_agent
from processors.sdk.discovery import in_entry_points, load_loose, modules_in
from streams.errors import ConfigError

BUILTIN = "processors.agents"
ENTRY_POINTS = "roughneck.agents"


def discover_agents(folders: Sequence[Path] = (), *, builtin: str = BUILTIN) -> list[Agent]:
    """All agents of the built-in package, of installed entry points and of `folders`, by name.

    Raises ConfigError naming what cannot be imported, or two agents of one name.
    """
    found = [one for module in modules_in(builtin) for one in agents_of(module)]
    found += in_entry_points(ENTRY_POINTS, "agent", agents_of, declared_agent)
    for folder in dict.fromkeys(folder.expanduser().resolve() for folder in folders):
        for module in load_loose(folder):
            found += agents_of(module)
    by_name: dict[str, Agent] = {}
    for one in found:
        if by_name.setdefault(one.name, one) is not one:
            raise ConfigError(f"two agents are named {one.name!r}")
    return [by_name[name] for name in sorted(by_name)]
