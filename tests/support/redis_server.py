"""A private Redis server: free loopback port, no persistence, its own folder, gone at the end."""

import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from redis import AuthenticationError, Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from ops.redis_binary import RedisBinary
from tests.support.waiting import until_sync

STARTS_MAX = 5  # another process may grab the free port between the look and the start
START_LIMIT_S = 10.0
STOP_LIMIT_S = 10.0


class RedisServer:
    """One running server. `options` are lines of redis.conf, such as `maxmemory 10mb`."""

    def __init__(self, binary: RedisBinary, *options: str) -> None:
        self.binary = binary
        self.folder = Path(tempfile.mkdtemp(prefix="rn-redis-"))
        self._options = options
        for _ in range(STARTS_MAX):
            self.port = free_port()
            self._start()
            if self._answers():
                return
        log = self.log()
        self.stop()
        raise AssertionError(f"{binary.path} does not start:\n{log}")

    @property
    def url(self) -> str:
        """`redis://127.0.0.1:<port>/0`."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The process, to stop or kill it in a test of link loss."""
        return self._process.pid

    def log(self) -> str:
        """What the server has written so far."""
        path = self.folder / "redis.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def kill(self) -> None:
        """As a crash: SIGKILL."""
        self._process.kill()
        self._process.wait(STOP_LIMIT_S)

    def restart(self) -> None:
        """Start again on the same port and folder after `kill`; empty, unless options persist."""
        self._start()
        until_sync(self._answers, what="redis to come back", limit_s=START_LIMIT_S)

    def saved(self) -> Path:
        """A copy of what is on disk now, to go back to with `lose_since`."""
        copy = Path(tempfile.mkdtemp(prefix="rn-saved-"))
        return shutil.copytree(self.folder, copy, dirs_exist_ok=True)

    def lose_since(self, saved: Path) -> None:
        """Crash, lose every write since `saved`, and start again."""
        self.kill()
        shutil.rmtree(self.folder)
        shutil.move(saved, self.folder)
        self.restart()

    def stop(self) -> None:
        """End the server and remove its folder. A second time nothing happens."""
        if self._process.poll() is None:
            self._process.kill()  # nothing is worth saving
            self._process.wait(STOP_LIMIT_S)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> None:
        conf = self.folder / "redis.conf"
        lines = [
            "bind 127.0.0.1",
            f"port {self.port}",
            f"dir {self.folder}",
            f"logfile {self.folder}/redis.log",
            "appendonly no",
            'save ""',
            *self._options,
        ]
        conf.write_text("\n".join(lines) + "\n", "utf-8")
        self._process = subprocess.Popen(
            [self.binary.path, conf],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _client(self) -> Redis:
        return Redis(port=self.port, retry=Retry(NoBackoff(), 0))

    def _answers(self) -> bool:
        """Whether our process serves the port; False at once when it has ended."""

        def answered_or_ended() -> str | None:
            if self._process.poll() is not None:
                return "ended"
            try:
                with self._client() as client:
                    served = client.info("server")["process_id"] == self.pid
            except AuthenticationError:
                served = True
            except RedisError:
                served = False
            return "answered" if served else None

        what = f"{self.binary.path} to answer"
        return until_sync(answered_or_ended, what=what, limit_s=START_LIMIT_S) == "answered"


def free_port() -> int:
    """A loopback port that nobody listened on a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
