"""What is installed is whole: the wheel has every file, and the platform runs from it alone."""

import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ops.redis_binary import RedisBinary
from tests.e2e.platform import variables
from tests.support.redis_server import free_port
from tests.support.waiting import until_sync

ROOT = Path(__file__).parents[2]
FOLDERS = ("streams", "processors", "gateway", "ops")
LIMIT_S = 60.0


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def shipped() -> Iterator[str]:
    """Every file of the four folders, but for what is made from it and what is kept out of git."""
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            name = path.relative_to(ROOT).as_posix()
            private = path.name == ".env" or "docker/secrets/" in name
            if path.is_file() and "__pycache__" not in path.parts and not private:
                yield name


def test_the_wheel_has_every_file_of_the_four_folders_and_no_other(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        names = {name for name in opened.namelist() if ".dist-info/" not in name}
    assert names == set(shipped())
    for needed in ("streams/lua/take.lua", "gateway/docs.html", "ops/deploy/redis/users.acl"):
        assert needed in names


def test_the_platform_runs_from_the_wheel_alone(
    wheel: Path, redis_binary: RedisBinary, tmp_path: Path
) -> None:
    """`roughneck up` in an empty folder, with nothing of this tree on the path."""
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(site)
    port = free_port()
    given = {"redis.folder": tmp_path / "redis", "gateway.port": port}
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ROUGHNECK_")},
        **variables(given),
        "HOME": str(tmp_path),
        "PYTHONPATH": str(site),
        "PATH": f"{Path(redis_binary.path).parent}:{os.environ['PATH']}",
    }
    where = "import ops.cli, streams.scripts as s; print(ops.cli.__file__, len(s.read_sources()))"
    loaded = _ran(["-c", where], environment, tmp_path)
    assert loaded.startswith(str(site)), loaded
    log = tmp_path / "up.log"
    with log.open("wb") as output:
        up = subprocess.Popen(
            [sys.executable, "-m", "ops.cli", "up", "--class", "io", "--class", "cpu"],
            cwd=tmp_path,
            env=environment,
            stdout=output,
            stderr=output,
        )
    try:
        until_sync(
            lambda: up.poll() is not None or _answers(port, "/readyz"),
            what="the gateway to be ready",
            limit_s=LIMIT_S,
        )
        assert up.poll() is None, log.read_text()
        until_sync(lambda: "worker is ready" in log.read_text(), what="a worker", limit_s=LIMIT_S)
        submit = ["-m", "ops.cli", "submit", "echo", '{"message": "hej"}', "--wait"]
        assert "hej" in _ran(submit, environment, tmp_path)
        assert _answers(port, "/docs")
        assert _answers(port, "/openapi.json")
        secrets = tmp_path / "secrets"
        assert "users.acl" in _ran(["-m", "ops.cli", "acl", str(secrets)], environment, tmp_path)
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait(LIMIT_S)
    assert up.returncode == 0, log.read_text()


def _ran(arguments: list[str], environment: dict[str, str], folder: Path) -> str:
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def _answers(port: int, path: str) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
