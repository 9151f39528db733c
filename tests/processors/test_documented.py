"""Samples in the documents are those that ship, results too: `python -m` this writes them anew.

A document marks each by `<!-- in: name/sample -->` or `<!-- out: name/sample -->` before a block of
JSON. `meta` is left out of results, and long lists are cut.
"""

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from processors.sdk.testing import ScriptedOllama, run_processor
from tests.processors.shipped import SAMPLES, shipped

DOCS = Path(__file__).parents[2] / "docs"
MARKED = re.compile(r"<!-- (in|out): (\S+) -->\n```json\n(.*?)```", re.DOTALL)
PAGES = sorted(page for page in DOCS.glob("*.md") if MARKED.search(page.read_text("utf-8")))
SHOWN_MAX = 4  # of a long list
TEXT_MAX = 700  # characters of a long text


async def shown(which: str, name: str) -> str:
    """What a block should say."""
    cast, sample = shipped(SAMPLES / f"{name}.json")
    if which == "in":
        return pretty(json.loads(sample.payload))
    (found,) = cast.processors
    fakes = {"ollama": ScriptedOllama(*sample.answers), "http": object()}  # pages come along
    needed = {one: fakes[one] for one in found.manifest.dependencies if one in fakes}
    result: Any = (await run_processor(found.function, sample.payload, **needed)).result
    return pretty({key: value for key, value in result.items() if key != "meta"})


def pretty(value: Any) -> str:
    """Indented, what is flat on one line, long lists cut."""
    return written(cut(value), "") + "\n"


def cut(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: cut(one) for key, one in value.items()}
    if isinstance(value, list) and len(value) > SHOWN_MAX:
        return [*map(cut, value[:SHOWN_MAX]), f"… {len(value) - SHOWN_MAX} more"]
    if isinstance(value, str) and len(value) > TEXT_MAX:
        return f"{value[:TEXT_MAX]}… {len(value) - TEXT_MAX} characters more"
    return [cut(one) for one in value] if isinstance(value, list) else value


def written(value: Any, indent: str) -> str:
    line = json.dumps(value, ensure_ascii=False)
    if len(line) + len(indent) <= 100 or not isinstance(value, dict | list) or not value:
        return line
    inner = indent + "  "
    if isinstance(value, dict):
        rows = [f"{inner}{json.dumps(key)}: {written(one, inner)}" for key, one in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + written(one, inner) for one in value) + f"\n{indent}]"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_samples_of_a_page_are_as_they_ship(page: Path) -> None:
    for which, name, block in MARKED.findall(page.read_text("utf-8")):
        expected = asyncio.run(shown(which, name))
        assert block == expected, f"{which} {name}: python -m {__name__}"


def write_all() -> None:
    for page in PAGES:
        text = page.read_text("utf-8")
        for which, name, block in MARKED.findall(text):
            mark = f"<!-- {which}: {name} -->\n```json\n"
            expected = asyncio.run(shown(which, name))
            text = text.replace(f"{mark}{block}```", f"{mark}{expected}```")
        page.write_text(text, "utf-8")
        print(f"wrote {page}")


if __name__ == "__main__":
    sys.exit(write_all())
