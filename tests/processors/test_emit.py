"""What a processor emits reaches the attempt, from the loop, from a thread and from a child."""

from pathlib import Path

import pytest

from processors.dependencies.log import LogProvider
from processors.sdk.host import Host
from processors.sdk.registry import Registry
from processors.sdk.testing import fake_attempt, run_processor

CODE = """
import msgspec
from processors.sdk import Context, Manifest, ResourceClass, processor


class Words(msgspec.Struct):
    words: list[str]


def say(given, context):
    for word in given.words:
        context.emit(word)
    return len(given.words)


@processor(Manifest(name="loop", version="1", summary="s", resource_class=ResourceClass.IO))
async def on_the_loop(given: Words, context: Context) -> int:
    return say(given, context)


@processor(Manifest(name="thread", version="1", summary="s", resource_class=ResourceClass.IO))
def in_a_thread(given: Words, context: Context) -> int:
    return say(given, context)


@processor(Manifest(name="child", version="1", summary="s", resource_class=ResourceClass.CPU))
def in_a_child(given: Words, context: Context) -> int:
    return say(given, context)
"""
WORDS = ["Hej ", "på ", "dig", "x" * 10_000]


@pytest.mark.parametrize("name", ["loop", "thread", "child"])
async def test_pieces_come_in_order(tmp_path: Path, name: str) -> None:
    (tmp_path / "talkative.py").write_text(CODE)
    found = Registry.discover([tmp_path]).get(name)
    assert found is not None
    attempt = fake_attempt(found, {"words": WORDS})
    async with Host(Registry([found]), [LogProvider()]) as host:
        assert await host.run(attempt) == b"4"
    assert "".join(attempt.said) == "".join(WORDS)


async def test_the_kit_keeps_what_was_said(tmp_path: Path) -> None:
    (tmp_path / "talkative.py").write_text(CODE)
    ending = await run_processor("thread", {"words": ["a", "b"]}, folders=[tmp_path])
    assert (ending.result, ending.said) == (2, "ab")
