"""Writes a set of études in ABC notation: a call for each, and nothing that does not add up.

Each is parsed: every bar sums to the metre, every note is one the player has, the skill is there by
measure, and none is another one over again. The set is ordered by measured difficulty.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from processors.etyde.etude import Brief, in_abc, name_of, read, set_faults, tune_faults
from processors.etyde.instruments import INSTRUMENTS, Instrument, instrument_of
from processors.etyde.measures import MEASURES, Skill, difficulty
from processors.etyde.notation import Tune, parse
from processors.etyde.session import Language
from processors.sdk import (
    Cache,
    Context,
    Example,
    Form,
    Interview,
    InvalidInput,
    Manifest,
    Meta,
    ResourceClass,
    processor,
)

PROMPT_VERSION = "1"
KEPT_S = 3_600.0  # an étude that was written is not written again by another attempt
LANGUAGES = {"da": "Danish", "en": "English"}
TITLES = {"da": "Etuder for {instrument}", "en": "Études for {instrument}"}
RATIONALES = {
    "da": "Niveau {level}. Efter målt sværhedsgrad: {steps}.",
    "en": "Level {level}. By measured difficulty: {steps}.",
}


class SetIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For whom études are to be written, and what for."""

    instrument: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    level: Annotated[int, msgspec.Meta(ge=1, le=10)]
    skill_focus: Annotated[tuple[Skill, ...], msgspec.Meta(min_length=1, max_length=8)]
    count: Annotated[int, msgspec.Meta(ge=1, le=8)] = 3
    key: Annotated[str, msgspec.Meta(pattern="^[A-G][#b]?m?$")] | None = None
    metre: Annotated[str, msgspec.Meta(pattern="^(?:[2-9]|12)/(?:2|4|8|16)$")] | None = None
    bars: Annotated[int, msgspec.Meta(ge=4, le=32)] = 16
    language: Language = "da"


class Etude(msgspec.Struct, frozen=True):
    """One étude. `difficulty` is measured, 0 to 10; no two of a set have the same."""

    title: str
    difficulty: float
    skill: Skill
    abc: str
    practice_note: str


class SetOut(msgspec.Struct):
    """The études, the easiest first."""

    title: str
    rationale: str
    etudes: tuple[Etude, ...]
    meta: Meta


class Written(msgspec.Struct, frozen=True):
    """What the model answers."""

    abc: Annotated[
        str,
        msgspec.Meta(
            description="the whole étude: X, T, M, L and K, each on a line, then the bars",
            min_length=20,
            max_length=8_000,
        ),
    ]
    title: Annotated[str, msgspec.Meta(description="a few words", min_length=1, max_length=100)]
    practice_note: Annotated[
        str, msgspec.Meta(description="one or two sentences", min_length=10, max_length=500)
    ]


FORM = Form(
    name="etude",
    answer=Written,
    role="You compose short études for music students, one voice, in ABC notation.",
    rules=(
        "Every bar sums to the metre exactly; count each bar before you go on. No upbeat.",
        "Exactly as many bars as BARS says. Repeats count once; better to have none.",
        "Every note lies within RANGE.",
        "The skill of SKILL is what the étude is about; keep to the share that it names.",
        "Use KEY and METRE where they are given. Lengths are multiples of L.",
        "It is another melody than those in OTHERS, and harder than these.",
        "End on the tonic. Write title and note in LANGUAGE.",
    ),
    examples=(
        Example(
            {
                "INSTRUMENT": "violin, level 2",
                "SKILL": "scales: notes by step; at least 65% of the intervals by step",
                "RANGE": "G, to b",
                "BARS": 4,
            },
            Written(
                abc="X:1\nT:Trapper\nM:4/4\nL:1/8\nK:G\nGABc d2 B2 | cBAG A2 F2 | "
                "GABc dcBA | G2 B2 G4 |]",
                title="Trapper",
                practice_note="Spil fire toner på hver bue, og lyt efter halvtonerne.",
            ),
        ),
    ),
    max_tokens=2_500,
)


@processor(
    Manifest(
        name="etyde-set",
        version="1.0.0",
        summary="Write a set of études whose bars, range and skill are checked.",
        resource_class=ResourceClass.OLLAMA,
        dependencies=("ollama", "cache"),
        model="gen",
        attempts_max=3,
        backoff_s=30,
        timeout_s=420,
        prompt_version=PROMPT_VERSION,
    )
)
async def etyde_set(given: SetIn, context: Context) -> SetOut:
    """One call for each étude; what earlier attempts wrote is kept."""
    instrument = instrument_of(given.instrument)
    if instrument is None:
        known = ", ".join(INSTRUMENTS)
        raise InvalidInput(f"{given.instrument!r} is not among {known}", "$.instrument")
    interview = Interview(context, PROMPT_VERSION)
    cache = context.need("cache", Cache)
    written: list[Etude] = []
    for number in range(given.count):
        context.progress(number / given.count, f"étude {number + 1} of {given.count}")
        name = f"{context.job_id}/{number}"
        etude = cache.get(name)
        if not isinstance(etude, Etude):
            brief = brief_of(given, instrument, number)
            etude = await one_etude(interview, brief, written, given.language)
            cache.put(name, etude, ttl_s=KEPT_S)
        written.append(etude)
    return set_of(given, written, interview.meta)


async def one_etude(
    interview: Interview, brief: Brief, before: Sequence[Etude], language: Language
) -> Etude:
    """The étude of a brief. Raises AnswerUnfit, AnswerCut."""
    others = [parse(etude.abc) for etude in before]

    def check(answer: Written) -> list[str]:
        tune = read(answer.abc)
        if isinstance(tune, str):
            return [f"abc: {tune}"]
        return [f"abc: {fault}" for fault in (*tune_faults(tune, brief), *set_faults(tune, others))]

    answer = await interview.ask(FORM, data_of(brief, before, language), check)
    tune = read(answer.abc)
    assert isinstance(tune, Tune)  # the check has read it
    return Etude(
        title=answer.title.strip(),
        difficulty=difficulty(tune),
        skill=brief.skill,
        abc=answer.abc.strip() + "\n",
        practice_note=answer.practice_note.strip(),
    )


def brief_of(given: SetIn, instrument: Instrument, number: int) -> Brief:
    """What the étude of that number is to be: the skills take turns."""
    skill = given.skill_focus[number % len(given.skill_focus)]
    return Brief(instrument, given.level, skill, given.bars, given.key or "", given.metre or "")


def data_of(brief: Brief, before: Sequence[Etude], language: Language) -> dict[str, object]:
    """What the model works on."""
    low, high = brief.instrument.range_at(brief.level)
    measure = MEASURES[brief.skill]
    return {
        "INSTRUMENT": f"{brief.instrument.name}, level {brief.level} of 10",
        "SKILL": f"{brief.skill}: at least {measure.enough:.0%} are {measure.meaning}",
        "RANGE": f"{in_abc(low)} to {in_abc(high)} ({name_of(low)} to {name_of(high)})",
        "BARS": brief.bars,
        "KEY": brief.key or "any",
        "METRE": brief.metre or "any",
        "OTHERS": [{"title": one.title, "abc": one.abc} for one in before],
        "LANGUAGE": LANGUAGES[language],
    }


def set_of(given: SetIn, etudes: Sequence[Etude], meta: Meta) -> SetOut:
    """The set in its order, with a sentence about it."""
    ordered = sorted(etudes, key=lambda etude: etude.difficulty)
    steps = ", ".join(f"{one.title} {one.difficulty:.1f} ({one.skill})" for one in ordered)
    words = {"instrument": given.instrument, "level": given.level}
    return SetOut(
        title=TITLES[given.language].format(**words),
        rationale=RATIONALES[given.language].format(steps=steps, **words),
        etudes=tuple(ordered),
        meta=meta,
    )
