"""Which processes another one has started, and which of them still live."""

import subprocess
from collections.abc import Iterable
from pathlib import Path

import msgspec

PROC = Path("/proc")


class Kin(msgspec.Struct, frozen=True):
    """One process; `started` tells it from a later one of the same id, empty if unknown."""

    pid: int
    parent: int
    state: str
    started: str = ""

    @property
    def lives(self) -> bool:
        """Whether it is more than an entry that nobody has collected."""
        return not self.state.startswith(("Z", "X"))


def children_of(pid: int) -> list[Kin]:
    """The living processes whose parent is `pid`."""
    return [one for one in _everyone() if one.parent == pid and one.lives]


def living(kin: Iterable[Kin]) -> list[int]:
    """Ids of those of `kin` that live."""
    now = {(one.pid, one.started) for one in _everyone() if one.lives}
    return [one.pid for one in kin if (one.pid, one.started) in now]


def _everyone() -> list[Kin]:
    """From /proc where there is one: slim images have no `ps`."""
    if (PROC / "self" / "stat").exists():
        found = (_read(path) for path in PROC.glob("[0-9]*/stat"))
        return [one for one in found if one is not None]
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,stat="], check=True, capture_output=True, text=True
    ).stdout
    rows = (line.split() for line in listing.splitlines())
    return [Kin(int(pid), int(parent), state) for pid, parent, state in rows]


def _read(path: Path) -> Kin | None:
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:  # it ended meanwhile
        return None
    fields = text.rpartition(")")[2].split()  # the name before may hold spaces and brackets
    return Kin(int(path.parent.name), int(fields[1]), fields[0], started=fields[19])
