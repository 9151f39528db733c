"""Where code of ours and of others is found at boot: packages, entry points, folders."""

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from processors.sdk.declaration import load_file
from streams.errors import ConfigError

LEFT_OUT = ("_", "test_", "conftest.")  # beginnings of names: parts, and tests that lie beside

T = TypeVar("T")


def modules_in(package: str) -> Iterator[ModuleType]:
    """The modules of a package. Raises ConfigError naming the file that cannot be imported."""
    parts = pkgutil.iter_modules(importlib.import_module(package).__path__)
    for part in sorted(parts, key=lambda part: part.name):
        if not part.name.startswith(LEFT_OUT):
            yield import_module(f"{package}.{part.name}")


def in_entry_points(
    group: str,
    kind: str,
    found_in: Callable[[ModuleType], list[T]],
    one: Callable[[object], T | None],
) -> Iterator[T]:
    """What the entry points of a group name: a module with some of the kind, or one itself.

    Raises ConfigError naming the entry point that cannot be loaded, or names none.
    """
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        try:
            target = point.load()
        except (Exception, SystemExit) as error:
            raise ConfigError(
                f"cannot load entry point {point.name!r} = {point.value}: {error!r}"
            ) from error
        if isinstance(target, ModuleType):
            yield from found_in(target)
        elif (found := one(target)) is not None:
            yield found
        else:
            raise ConfigError(f"entry point {point.name!r} = {point.value} is no {kind}")


def load_loose(folder: Path) -> Iterator[ModuleType]:
    """The modules of a folder. Raises ConfigError when it is not there, or one cannot be loaded."""
    if not folder.is_dir():
        raise ConfigError(f"the processor folder {folder} does not exist")
    for file in sorted([*folder.glob("*.py"), *folder.glob("*/__init__.py")]):
        if not file.relative_to(folder).parts[0].startswith(LEFT_OUT):
            yield load(file)


def import_module(name: str) -> ModuleType:
    """The module of that name. Raises ConfigError naming its file when it cannot be imported."""
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        spec = importlib.util.find_spec(name)
        file = spec.origin if spec is not None else name
        raise ConfigError(f"cannot import {file}: {error!r}") from error


def load(file: Path) -> ModuleType:
    """The module in a file. Raises ConfigError naming the file."""
    try:
        return load_file(file)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"cannot import {file}: {error!r}") from error
