"""Tab: what the shell offers after a command, as the shell asks for it."""

import pytest
from click.shell_completion import ShellComplete

from ops.cli.program import program
from ops.links import Engine
from streams.directory import Endpoint
from streams.model import State
from tests.ops.test_cli import CARD, Cli, cli, on, one_of_each
from tests.support.schedules import schedule

__all__ = ["cli"]  # a fixture


def offered(*arguments: str, begun: str = "") -> list[str]:
    shell = ShellComplete(program, {}, "roughneck", "_ROUGHNECK_COMPLETE")
    return [item.value for item in shell.get_completions(list(arguments), begun)]


async def register(engine: Engine) -> None:
    await engine.directory.publish_processor(CARD)
    await engine.schedules.create(schedule("nightly"))
    url = "https://app.example/"
    await engine.callbacks.endpoints.put(Endpoint("ep_1", "web", url, (), (State.DEAD,), 1))


def test_commands_and_options_are_offered() -> None:
    assert offered(begun="jo") == ["jobs", "journal"]
    assert "--read-only" in offered("top", begun="--r")
    assert offered("classes", "pause", begun="o") == ["ollama"]


def test_what_is_in_redis_is_offered(cli: Cli, redis_url: str) -> None:
    ids = on(redis_url, one_of_each)
    on(redis_url, register)
    at = ("--redis", redis_url)
    assert set(offered(*at, "jobs", "show")) == set(ids.values())
    assert offered(*at, "jobs", "show", begun=ids["dead"]) == [ids["dead"]]
    assert offered(*at, "dead", "replay") == [ids["dead"]]
    assert offered(*at, "submit") == ["echo"]
    assert offered(*at, "schedules", "show") == ["nightly"]
    assert offered(*at, "endpoints", "rotate") == ["ep_1"]
    assert offered(*at, "flows", "show") == []


@pytest.mark.parametrize("command", ["jobs show", "submit", "schedules show"])
def test_without_redis_nothing_is_offered_and_nothing_said(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert offered("--redis", "redis://127.0.0.1:1/0", *command.split()) == []
    assert capsys.readouterr() == ("", "")
