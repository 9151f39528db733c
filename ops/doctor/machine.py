"""This machine: Python, the settings file, disks, the embedded Redis, journals left here."""

import os
import shutil
import stat
import sys
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path

import msgspec

from gateway.journal.survey import FolderFound, survey
from ops.doctor.finding import Finding, fine, problem, warning
from ops.embedded import EmbeddedRedis
from ops.settings import DEFAULT_FILE, VERSION, Settings
from streams.clock import SystemClock

PYTHON_MIN = (3, 11)
GIB = 1024**3
FREE_FEW, FREE_TOO_FEW = 2 * GIB, GIB // 4
WIDE = 65_536  # addresses: a wider allowed network is hardly one's own


def check_software(settings: Settings, path: Path | None) -> list[Finding]:
    """What runs here."""
    return [judge_python(sys.version_info[:3])]


def judge_python(version: tuple[int, ...]) -> Finding:
    """Whether this Python is new enough."""
    said = f"Roughneck {VERSION} on Python {'.'.join(map(str, version))}"
    if version[:2] < PYTHON_MIN:
        return problem("version", said, "install Python 3.11 or newer")
    return fine("version", said)


def check_settings(settings: Settings, path: Path | None) -> list[Finding]:
    """The file, and what in it is doubtful."""
    file = path or DEFAULT_FILE
    mode = stat.S_IMODE(file.stat().st_mode) if file.exists() else None
    return judge_settings(settings, file, mode)


def judge_settings(settings: Settings, file: Path, mode: int | None) -> list[Finding]:
    """Secrets that others can read, and doors that stand wide open."""
    found = []
    if mode is not None and mode & 0o077 and _has_secret(settings):
        said = f"{file} holds a password, and others may read it ({mode:03o})"
        found.append(problem("settings", said, f"chmod 600 {file}, or use the …_file form"))
    for text in settings.network.allow_networks:
        network = ip_network(text, strict=False)
        if network.version == 4 and network.num_addresses > WIDE and not network.is_loopback:
            said = f"network.allow_networks has {text}: callbacks may reach all of it"
            found.append(warning("settings", said, "name the receivers' networks only"))
    return found or [fine("settings", f"read {file}" if mode is not None else "no file: defaults")]


def _has_secret(settings: Settings) -> bool:
    return bool(settings.client.key) or "@" in settings.redis.url


class Disk(msgspec.Struct, frozen=True):
    """Where something is kept, and how much room there is."""

    what: str
    path: Path
    total: int
    free: int


def check_disks(settings: Settings, path: Path | None) -> list[Finding]:
    """The room for everything that is kept on this machine."""
    folders = {
        "journal": settings.gateway.journal_folder,
        "verdicts": settings.worker.journal_folder,
    }
    if not settings.redis.url:
        folders["embedded Redis"] = settings.redis.folder
    disks = []
    for what, folder in folders.items():
        place = _existing(Path(folder).expanduser()) if folder else None
        if place is not None:
            usage = shutil.disk_usage(place)
            disks.append(Disk(what, place, usage.total, usage.free))
    return judge_disks(disks)


def _existing(path: Path) -> Path:
    """The folder, or the one above it in which it would be made."""
    return next(each for each in (path, *path.parents) if each.exists())


def judge_disks(disks: Sequence[Disk]) -> list[Finding]:
    """A full disk stops what accepts jobs."""
    found = []
    for disk in disks:
        said = f"{disk.what}: {disk.free / GIB:.1f} GiB free in {disk.path}"
        if disk.free < FREE_TOO_FEW:
            found.append(problem("disk", said, "make room: jobs will soon be refused"))
        elif disk.free < FREE_FEW:
            found.append(warning("disk", said, "make room before a long outage fills it"))
        else:
            found.append(fine("disk", said))
    return found


def check_journals(settings: Settings, path: Path | None) -> list[Finding]:
    """What gateways of this machine have not been able to hand to Redis."""
    folder = settings.gateway.journal_folder
    if not folder:
        remedy = "set `gateway.journal_folder`"
        return [warning("journal", "gateways keep none: an outage of Redis is one of ours", remedy)]
    found = survey(Path(folder))
    return judge_journals(found, SystemClock().now_ms(), settings.engine.retention_s * 1_000)


def judge_journals(found: Sequence[FolderFound], now_ms: int, retention_ms: int) -> list[Finding]:
    """Jobs that wait for Redis, those that wait for the operator, files that nobody can read."""
    lines = []
    for folder in found:
        for path in folder.unreadable:
            said = f"{path} was set aside as unreadable: accepted jobs may be in it"
            lines.append(problem("journal", said, "try `sqlite3 FILE .recover`, and keep the file"))
        for journal in folder.journals:
            if journal.problem:
                said = f"{journal.path} cannot be read: {journal.problem}"
                lines.append(problem("journal", said, "look at its owner and at the disk"))
            if journal.kept:
                said = (
                    f"{journal.path}: {len(journal.kept)} jobs were not sent: {journal.kept[0].why}"
                )
                remedy = "they are too old to be run unasked: submit anew what still matters"
                lines.append(warning("journal", said, remedy))
            if journal.spooled:
                lines.append(_spooled(journal.path, journal.spooled, now_ms - journal.oldest_ms))
                if now_ms - journal.oldest_ms > retention_ms:
                    said = f"{journal.path}: the oldest job is older than the retention"
                    lines.append(warning("journal", said, "it will be kept for you, not run"))
                if not journal.in_use:
                    said = f"{journal.path} has jobs and no gateway"
                    lines.append(problem("journal", said, "start a gateway on this machine"))
    return lines or [fine("journal", "nothing waits in the journals of this machine")]


def _spooled(path: Path, rows: int, age_ms: int) -> Finding:
    said = f"{path}: {rows} accepted jobs are not in Redis, the oldest for {age_ms // 1_000} s"
    if age_ms < 10_000:
        return fine("journal", said)
    return warning("journal", said, "look why the gateway does not reach Redis, or Redis is full")


def check_embedded(settings: Settings, path: Path | None) -> list[Finding]:
    """The server of `roughneck up`, where that is the one in use."""
    if settings.redis.url:
        return []
    folder = Path(settings.redis.folder).expanduser()
    server = EmbeddedRedis(folder)
    serves = server.serves()
    return [judge_embedded(folder, serves=serves, pid=server.pid, alive=_alive(server.pid))]


def judge_embedded(folder: Path, *, serves: bool, pid: int, alive: bool) -> Finding:
    """Whether it answers, and if not, what is in the way."""
    if serves:
        return fine("embedded", f"process {pid} serves {folder}")
    if pid and alive:
        said = f"process {pid} of {folder} lives and does not answer"
        return problem("embedded", said, f"look at {folder / 'redis.log'}")
    said = f"no Redis is named, and none runs in {folder}"
    return problem("embedded", said, "run `roughneck up`, or name a server with --redis")


def _alive(pid: int) -> bool:
    if not pid:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
