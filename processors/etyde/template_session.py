"""A session without a model: plain, always right, the same for the same input."""

from collections.abc import Mapping

from processors.etyde.arranging import arranged
from processors.etyde.instruments import ANY, instrument_of
from processors.etyde.session import (
    Block,
    DueItem,
    Kind,
    SessionIn,
    blocks_least,
    blocks_most,
    items_that_fit,
)

WARM_UP, FILL, DUE = 3, 4, 6  # weights
Words = tuple[str, str, str, str]  # title, focus, instructions, success criterion

FILLERS = (Kind.SCALES, Kind.TECHNIQUE, Kind.SIGHT_READING, Kind.ETUDE, Kind.AURAL)
WORDS: Mapping[str, Mapping[Kind, Words]] = {
    "da": {
        Kind.WARM_UP: (
            "Opvarmning",
            "Løs krop og fri klang",
            "Spil lange toner og et roligt tostrøgs- eller bindebueskift uden spænding.",
            "4 lange toner i træk med jævn klang",
        ),
        Kind.SCALES: (
            "Skalaer",
            "Intonation og jævnt tempo",
            "Spil skalaen op og ned, først langsomt, så i to og to.",
            "2 gange igennem uden fejl",
        ),
        Kind.TECHNIQUE: (
            "Teknik",
            "Rolig og præcis bevægelse",
            "Vælg én bevægelse, spil den langsomt, og sæt tempoet op trin for trin.",
            "5 gange i træk uden fejl",
        ),
        Kind.SIGHT_READING: (
            "Spil fra bladet",
            "Se fremad",
            "Læs 1 minut uden at spille, spil så igennem uden at standse.",
            "Igennem uden at standse mere end 1 gang",
        ),
        Kind.ETUDE: (
            "Etude",
            "Rytme og frasering",
            "Del etuden op i stykker på fire takter, og sæt dem sammen to og to.",
            "8 takter i træk uden fejl",
        ),
        Kind.AURAL: (
            "Gehør",
            "Hør, før du spiller",
            "Syng en kort melodi, og find den på instrumentet.",
            "2 melodier fundet uden noder",
        ),
        Kind.REPERTOIRE: (
            "Repertoire",
            "Det sted, der er sværest",
            "Find de to sværeste takter, spil dem langsomt, og sæt dem tilbage i sammenhængen.",
            "3 gange i træk uden fejl",
        ),
    },
    "en": {
        Kind.WARM_UP: (
            "Warm-up",
            "A loose body and a free tone",
            "Play long notes, then change slowly between two of them, without tension.",
            "4 long notes in a row with an even tone",
        ),
        Kind.SCALES: (
            "Scales",
            "Intonation and an even tempo",
            "Play the scale up and down, slowly first, then in twos.",
            "Twice through without a mistake",
        ),
        Kind.TECHNIQUE: (
            "Technique",
            "A calm and exact movement",
            "Choose one movement, play it slowly, and raise the tempo step by step.",
            "5 times in a row without a mistake",
        ),
        Kind.SIGHT_READING: (
            "Sight-reading",
            "Look ahead",
            "Read for 1 minute without playing, then play through without stopping.",
            "Through with 1 stop at most",
        ),
        Kind.ETUDE: (
            "Étude",
            "Rhythm and phrasing",
            "Cut the étude into pieces of four bars and join them two by two.",
            "8 bars in a row without a mistake",
        ),
        Kind.AURAL: (
            "Ear",
            "Hear before you play",
            "Sing a short tune and find it on the instrument.",
            "2 tunes found without notes",
        ),
        Kind.REPERTOIRE: (
            "Repertoire",
            "The hardest place",
            "Find the two hardest bars, play them slowly, and put them back where they belong.",
            "3 times in a row without a mistake",
        ),
    },
}
TITLES = {"da": "Øvesession på {} minutter", "en": "A practice session of {} minutes"}
GOALS = {"da": "Hold det, du kan, ved lige", "en": "Keep what you can in shape"}


def template_session(given: SessionIn) -> list[Block]:
    """Warm-up, what is due, and as much else as the time asks for."""
    blocks = [filler(Kind.WARM_UP, given, WARM_UP)]
    blocks += [due_block(item, given) for item in items_that_fit(given)]
    wanted = max(blocks_least(given.minutes), min(6, blocks_most(given.minutes)))
    for number in range(max(0, wanted - len(blocks))):
        blocks.append(filler(FILLERS[number % len(FILLERS)], given, FILL))
    return arranged(blocks, given)


def title_of(given: SessionIn) -> str:
    """What a session without a model is called."""
    return TITLES[given.language].format(given.minutes)


def goal_of(given: SessionIn) -> str:
    """The first goal of the student, or a plain one."""
    return given.goals[0] if given.goals else GOALS[given.language]


def filler(kind: Kind, given: SessionIn, weight: int) -> Block:
    """A block of a kind that is about no item."""
    title, focus, instructions, criterion = WORDS[given.language][kind]
    tempo = tempo_of(given) if kind in (Kind.SCALES, Kind.TECHNIQUE, Kind.ETUDE) else None
    return Block(kind, title, weight, None, tempo, focus, instructions, criterion)


def due_block(item: DueItem, given: SessionIn) -> Block:
    """A block for an item that is due; what went badly gets more time."""
    _, focus, instructions, criterion = WORDS[given.language][Kind(item.kind)]
    weight = DUE + round(4 * (1 - (1.0 if item.last_score is None else item.last_score)))
    tempo = None if item.kind in ("aural", "sight_reading") else tempo_of(given)
    return Block(
        Kind(item.kind), item.title, weight, item.item_id, tempo, focus, instructions, criterion
    )


def tempo_of(given: SessionIn) -> int:
    """A calm tempo: in the middle of what the level can be asked for."""
    slowest, fastest = (instrument_of(given.instrument) or ANY).tempo_at(given.level)
    return (slowest + fastest) // 2
