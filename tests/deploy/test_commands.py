"""Every command of every document, run against a platform that has something to show.

Those that go on until they are stopped are left out: `roughneck up` has tests of its own.
"""

import asyncio
import os
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ops.redis_binary import RedisBinary
from tests.e2e.platform import DURABLE, Platform, accepted, ended, platform
from tests.support.redis_server import RedisServer
from tests.unit.test_docs import CALL, INNER, PROSE, SHELL

GOES_ON = {"up", "gateway", "worker", "courier", "sim-ollama", "demo", "bench", "top"}
NOT_HERE = {"--watch", "--follow", "--metrics-port"}
PLACEHOLDER = re.compile(r"\b0-01j[de]…")  # what stands for a job's id
LIMIT_S = 90
FILES = {
    "flow": '{"stages": [{"name": "a", "processor": "echo", "payload": {"message": "a"}}]}',
    "question": '{"prompt": "Hvorfor?"}',
}

pytestmark = pytest.mark.deploy


def calls() -> Iterator[tuple[str, str]]:
    """Document and command, each command once."""
    seen = set()
    for path in PROSE:
        for block in SHELL.findall(path.read_text("utf-8")):
            whole = re.sub(r"\\\n\s*", " ", block)
            lines = "\n".join([INNER.sub("X", whole), *INNER.findall(whole)])
            for call in CALL.findall(lines):
                words = shlex.split(call)
                own = [word for word in words if not word.startswith("-")]
                if call not in seen and not GOES_ON & set(own) and not NOT_HERE & set(words):
                    seen.add(call)
                    yield path.name, call


@pytest.fixture
async def stage(redis_binary: RedisBinary, tmp_path: Path) -> AsyncIterator[Platform]:
    server = RedisServer(redis_binary, *DURABLE)
    async with platform(server, tmp_path) as running:
        running.environment["HOME"] = str(tmp_path)
        yield running
    server.stop()


async def test_every_command_of_the_documents_ends_as_it_should(stage: Platform) -> None:
    """With 0, or with an expected trouble that is one line; never with a traceback."""
    await stage.worker("w")
    await stage.gateway()
    http = await stage.app("web")
    job_id = await accepted(http, "gate", {"ms": 1})
    await ended(http, job_id)
    for name in ("hi", "week", "flow", "question", "page", "text"):
        (stage.folder / f"{name}.json").write_text(FILES.get(name, '{"message": "hi"}'))
    wrong, ran_well = [], 0
    for document, call in calls():
        given = PLACEHOLDER.sub(job_id, call).replace(" JOB", f" {job_id}")
        words = shlex.split(given)
        if "--wait" in words or words[0] in ("ask", "wait"):
            words += ["--timeout", "2"]  # nobody serves models here
        ran = await asyncio.to_thread(run, stage, words)
        ran_well += ran.returncode == 0
        lines = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
        if ran.returncode not in range(5) or (ran.returncode > 1 and len(lines) != 1):
            wrong.append(f"{document}: roughneck {call}: {ran.returncode} {ran.stderr[-300:]}")
    assert wrong == []
    assert ran_well > 70


def run(stage: Platform, words: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "ops.cli", *words],
        cwd=stage.folder,
        env={**os.environ, **stage.environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
