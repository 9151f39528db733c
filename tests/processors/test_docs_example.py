"""The example in docs/processors.md works as it stands there."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import msgspec

from processors.dependencies.log import LogProvider
from processors.sdk.agent_discovery import discover_agents
from processors.sdk.host import Host
from processors.sdk.registry import Registry
from processors.sdk.testing import fake_attempt

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "processors.md"


async def test_the_example_is_found_runs_and_passes_its_own_tests(tmp_path):
    code, test, *_ = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "word_count.py").write_text(code)
    (tmp_path / "test_word_count.py").write_text(test)
    found = Registry.discover([tmp_path]).get("word-count")
    assert found is not None
    async with Host(Registry([found]), [LogProvider()]) as host:
        result = await host.run(fake_attempt(found, {"text": "to be or not to be"}))
    assert msgspec.json.decode(result) == {"words": 6, "distinct": 4}
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "."]
    ran = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=tmp_path, stdout=subprocess.PIPE
    )
    said, _ = await ran.communicate()
    assert ran.returncode == 0, said.decode()
    assert b"2 passed" in said


async def test_the_agent_of_the_documents_is_found_and_passes_its_own_test(tmp_path):
    code, test = re.findall(r"```python\n(.*?)```", (DOCS / "agents.md").read_text(), re.DOTALL)
    (tmp_path / "dying_apps.py").write_text(code)
    (tmp_path / "test_dying_apps.py").write_text(test)
    assert "dying-apps" in [one.name for one in discover_agents([tmp_path])]
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "."]
    ran = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=tmp_path, stdout=subprocess.PIPE
    )
    said, _ = await ran.communicate()
    assert b"1 passed" in said, said.decode()
