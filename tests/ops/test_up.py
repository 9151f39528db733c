"""`roughneck up` as a user runs it: one tree of processes that lives and dies together."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.embedded import EmbeddedRedis, living_url
from ops.redis_binary import installed
from tests.support.redis_server import RedisServer, free_port
from tests.support.waiting import until_sync

pytestmark = pytest.mark.skipif(not installed(), reason="no Redis server is installed")

START_LIMIT_S = 30.0
STOP_LIMIT_S = 30.0
SHORT_LEASE = {"ROUGHNECK_ENGINE__LEASE_MS": "2000", "ROUGHNECK_ENGINE__RENEW_MS": "500"}


class Up:
    """`roughneck up` over an embedded Redis of its own, or over a given one."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder / "redis"
        self.log = folder / "up.log"
        self.port = free_port()
        self.base = [sys.executable, "-m", "ops.cli", "--data", str(self.folder), *options]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*self.base, "up", "--port", str(self.port), "--class", "io", "--class", "cpu"],
                stderr=log,
                stdout=log,
                env={**os.environ, **SHORT_LEASE},
            )

    def cli(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*self.base, *arguments], check=False, capture_output=True, text=True, timeout=60
        )

    def json(self, *arguments: str) -> Any:
        answer = self.cli(*arguments, "-o", "json")
        return json.loads(answer.stdout) if answer.stdout else None

    def worker_pid(self) -> int:
        """The process id of the worker that lives, 0 when there is none."""
        workers = self.json("workers") or []
        alive = [worker["pid"] for worker in workers if is_alive(worker["pid"])]
        return alive[0] if alive else 0

    def ready(self) -> "Up":
        until_sync(
            lambda: self.process.poll() is not None or self.worker_pid(),
            what="up to be ready",
            limit_s=START_LIMIT_S,
        )
        assert self.process.poll() is None, self.log.read_text()
        return self

    def children(self) -> list[int]:
        listing = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid="], check=True, capture_output=True, text=True
        ).stdout
        pairs = [tuple(map(int, line.split())) for line in listing.splitlines()]
        return [pid for pid, parent in pairs if parent == self.process.pid]

    def gone(self, pids: list[int]) -> None:
        until_sync(
            lambda: not [pid for pid in pids if is_alive(pid)],
            what="every process to be gone",
            limit_s=STOP_LIMIT_S,
        )


def is_alive(pid: int) -> bool:
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], check=False, capture_output=True, text=True
    ).stdout.strip()
    return bool(state) and not state.startswith("Z")


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    running = Up(tmp_path)
    try:
        yield running.ready()
    finally:
        running.process.kill()
        running.process.wait()
    until_sync(
        lambda: living_url(running.folder) is None, what="redis to be gone", limit_s=STOP_LIMIT_S
    )


def test_a_job_runs_and_everything_stops_together(up: Up) -> None:
    done = up.cli("submit", "echo", '{"message":"hi"}', "--wait")
    assert (done.returncode, json.loads(done.stdout)["message"]) == (0, "hi")
    key = up.cli("keys", "create", "--app", "web").stdout.strip()
    over_http = ["--gateway", f"http://127.0.0.1:{up.port}", "--key", key]
    done = up.cli(*over_http, "submit", "echo", '{"message":"over http"}', "--wait", "-o", "json")
    assert (done.returncode, json.loads(done.stdout)["app"]) == (0, "web")
    children = up.children()
    assert len(children) == 4  # redis, its watcher, gateway, worker
    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(STOP_LIMIT_S) == 0
    up.gone(children)
    with EmbeddedRedis(up.folder):
        assert up.json("status")["jobs"]["succeeded"] == 2


def test_a_worker_that_dies_is_started_again_and_its_job_runs(up: Up) -> None:
    before = up.worker_pid()
    job = up.json("submit", "echo", '{"message":"slow","delay_ms":5000}')["id"]
    until_sync(lambda: up.json("status", job)["state"] == "active", what="the job to run")
    os.kill(before, signal.SIGKILL)
    until_sync(lambda: up.worker_pid() not in (0, before), what="a new worker", limit_s=30)
    ended = up.cli("wait", job, "--timeout", "60")
    assert ended.returncode == 0, ended.stderr
    assert up.json("status", job)["crashes"] == 1


def test_nothing_stays_when_up_is_killed(up: Up) -> None:
    children = up.children()
    up.process.kill()
    up.process.wait()
    up.gone(children)


def test_a_second_signal_leaves_at_once(up: Up) -> None:
    children = up.children()
    up.cli("submit", "echo", '{"message":"long","delay_ms":60000}')
    until_sync(lambda: up.json("status")["jobs"].get("active") == 1, what="the job to run")
    up.process.send_signal(signal.SIGINT)
    until_sync(lambda: "SIGINT: stopping" in up.log.read_text(), what="the stop to begin")
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(5) == 130
    up.gone(children)


def test_a_port_that_is_taken_ends_up_with_the_reason(tmp_path: Path) -> None:
    first = Up(tmp_path).ready()
    command = [sys.executable, "-m", "ops.cli", "--data", str(tmp_path / "second")]
    second = subprocess.run(
        [*command, "up", "--port", str(first.port)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    first.process.terminate()
    first.process.wait(STOP_LIMIT_S)
    assert second.returncode == 2
    assert f"cannot listen on 127.0.0.1:{first.port}" in second.stderr
    assert "Traceback" not in second.stderr


def test_what_is_unsafe_about_a_given_redis_is_said(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    running = Up(tmp_path, "--redis", redis_server.url)
    running.ready()
    running.process.terminate()
    assert running.process.wait(STOP_LIMIT_S) == 0
    said = running.log.read_text()
    assert "Redis is unsafe" in said
    assert "appendonly is off" in said
