"""The exit code of `roughneck demo` says whether all was well."""

from pathlib import Path

import pytest

from ops.cli.program import run
from ops.demo import __main__ as command
from ops.demo.report import Report


@pytest.mark.parametrize(("wrong", "code"), [([], 0), (["page: lost"], 1)])
def test_the_exit_code_tells_what_the_books_say(
    monkeypatch: pytest.MonkeyPatch, wrong: list[str], code: int
) -> None:
    folders: list[Path] = []

    async def play(report: Report, folder: Path, newsletter: Path) -> list[str]:
        folders.append(folder)
        return wrong

    monkeypatch.setattr(command, "run", play)
    assert run(["demo"]) == code
    assert not folders[0].exists()
