"""`--watch`: looks again and again, and shows what has changed."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ops.cli import watching
from ops.links import Engine
from tests.ops.test_cli import Cli, cli, on
from tests.support.build import new_job

__all__ = ["cli"]  # a fixture


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[Callable[[], object]]], None]:
    """Do these in the pauses between looks, then press Ctrl-C."""

    def set_up(acts: Sequence[Callable[[], object]]) -> None:
        left = list(acts)

        def pause(_: float) -> None:
            if not left:
                raise KeyboardInterrupt
            left.pop(0)()

        monkeypatch.setattr(watching.time, "sleep", pause)

    return set_up


def test_a_watched_list_is_shown_again_when_it_has_changed(
    cli: Cli, redis_url: str, between: Any
) -> None:
    job = new_job()

    async def submit(engine: Engine) -> None:
        await engine.broker.submit([job])

    between([lambda: None, lambda: on(redis_url, submit), lambda: None])
    ran = cli("jobs", "list", "--watch", "0.1", "-o", "json")
    assert ran.code == 130
    first, second = map(json.loads, ran.out.splitlines())
    assert (first, [one["id"] for one in second]) == ([], [job.id])


def test_a_watched_table_survives_that_redis_is_away(
    cli: Cli, redis_url: str, between: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    between([])
    ran = cli("--redis", "redis://127.0.0.1:1/0", "status", "--watch")
    assert (ran.code, "unreachable: " in ran.out) == (130, True)
