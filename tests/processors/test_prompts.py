"""What models are told of the samples, word for word; and that its version is told with it.

A prompt that changes changes its golden file: raise the manifest's `prompt_version`, then write
them anew by `python -m tests.processors.test_prompts`.
"""

import asyncio
import sys
from pathlib import Path

import msgspec
import pytest

from processors.sdk.testing import ScriptedOllama, run_processor
from tests.processors.shipped import FILES, name_of, shipped

GOLDEN = Path(__file__).parent / "prompts"
SCRIPTED = [  # a flow's prompts are those of its stages, which have samples of their own
    file
    for file in FILES
    if (file.parent / "answers" / file.name).exists() and shipped(file)[0].flow is None
]


async def prompts(file: Path) -> str:
    """Every question that is asked of a sample, in the order in which it is."""
    cast, sample = shipped(file)
    model = ScriptedOllama(*sample.answers)
    (found,) = cast.processors
    ending = await run_processor(found.function, sample.payload, ollama=model)
    assert ending.error is None, ending.error
    version = f"prompt version {found.manifest.prompt_version}\n"
    asked = [
        f"--- {turn.role}\n{turn.content}\n" for question in model.asked for turn in question.turns
    ]
    grammars = {msgspec.json.encode(question.format).decode() for question in model.asked}
    return "\n".join([version, *asked, "--- grammar", *sorted(grammars), ""])


@pytest.mark.parametrize("file", SCRIPTED, ids=name_of)
async def test_a_model_is_told_what_the_golden_file_says(file: Path) -> None:
    golden = GOLDEN / f"{name_of(file).replace('/', '.')}.txt"
    assert golden.exists(), f"write it: python -m {__name__}"
    assert await prompts(file) == golden.read_text("utf-8")


def test_every_golden_file_has_its_sample() -> None:
    known = {f"{name_of(file).replace('/', '.')}.txt" for file in SCRIPTED}
    assert {file.name for file in GOLDEN.glob("*")} == known


def write_all() -> None:
    """Write every golden file anew."""
    GOLDEN.mkdir(exist_ok=True)
    for file in SCRIPTED:
        golden = GOLDEN / f"{name_of(file).replace('/', '.')}.txt"
        golden.write_text(asyncio.run(prompts(file)), "utf-8")
        print(f"wrote {golden}")


if __name__ == "__main__":
    sys.exit(write_all())
