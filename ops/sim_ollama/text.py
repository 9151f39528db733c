"""What the simulated models say: always the same for the same question and seed."""

import hashlib
import math
import random
from collections.abc import Sequence

import msgspec

from ops.sim_ollama.models import SimConfig, full_name
from ops.sim_ollama.reading import Reading
from ops.sim_ollama.schema import UnusableSchema, instance
from ops.sim_ollama.wire import Asked, Problem

BYTES_PER_TOKEN = 4
QUOTE_MAX = 60
TOO_LONG = "the request exceeds the available context size, try increasing it"
DANISH_MARKS = (" og ", " er ", " det ", " på ", " til ", " hvad ", "æ", "ø", "å")
DANISH = (
    "Det korte svar er ja.",
    "Der er flere muligheder, og de hænger sammen.",
    "Koncerten begynder klokken halv otte i Spinderihallerne.",
    "Vi anbefaler, at man kommer i god tid.",
    "Prisen dækker både kaffe og kage.",
    "Børn under tolv år går gratis ind.",
    "Fra havnen er der ti minutters gang langs fjorden.",
    "Resten afgøres, når programmet er på plads.",
)
ENGLISH = (
    "The short answer is yes.",
    "There are several ways, and they depend on each other.",
    "The first step takes the longest.",
    "It helps to measure before changing anything.",
    "Most of the time is spent waiting for the network.",
    "A smaller change would show the same effect.",
    "Nothing here needs to be decided today.",
    "The rest follows from what was said above.",
)
THOUGHT = "The user asks something simple; answer it plainly."


def fixture_key(model: str, messages: Sequence[tuple[str, str]], format: object = None) -> str:
    """The key in `SimConfig.fixtures` for a question: model, (role, content) pairs and format."""
    question = msgspec.json.encode(
        [full_name(model), [list(message) for message in messages], format], order="sorted"
    )
    return hashlib.sha256(question).hexdigest()


def reply(asked: Asked, config: SimConfig, number: int, *, constrained: bool = True) -> str:
    """The whole answer, before `num_predict` cuts it. Raises Problem 400 for a bad grammar.

    With temperature 0 or a seed it depends on the question alone, else also on the `number` of the
    request.
    """
    key = fixture_key(asked.model, asked.messages, asked.format)
    if key in config.fixtures:
        return config.fixtures[key]
    rng = random.Random(f"{key}/{config.seed}/{_variation(asked, number)}")
    if asked.format is None or not constrained:
        return _stopped(_prose(asked, rng), asked.options.get("stop"))
    if asked.format == "json":
        return msgspec.json.encode({"answer": _prose(asked, rng)}).decode()
    try:
        said = instance(asked.format, rng, Reading.of(asked.messages))
        return msgspec.json.encode(said).decode()
    except UnusableSchema as error:
        raise Problem(400, str(error)) from error


def pieces(text: str) -> list[str]:
    """The text cut into tokens of about four bytes, never inside a character."""
    cut: list[str] = []
    piece, size = "", 0
    for character in text:
        piece += character
        size += len(character.encode())
        if size >= BYTES_PER_TOKEN:
            cut.append(piece)
            piece, size = "", 0
    return [*cut, piece] if piece else cut


def token_count(text: str, bytes_per_token: int = BYTES_PER_TOKEN) -> int:
    """How many tokens the simulated tokenizer makes of a prompt."""
    return math.ceil(len(text.encode()) / bytes_per_token)


def prompt_tokens(asked: Asked, num_ctx: int, bytes_per_token: int = BYTES_PER_TOKEN) -> int:
    """Tokens that are evaluated: the oldest that is not system is dropped until the rest fits.

    Raises Problem 400 where the client wants nothing dropped and it does not fit.
    """
    sizes = [(role, token_count(content, bytes_per_token)) for role, content in asked.messages]
    if not asked.shift and sum(size for _, size in sizes) > num_ctx:
        raise Problem(400, TOO_LONG)
    while sum(size for _, size in sizes) > num_ctx and len(sizes) > 1:
        oldest = next((i for i, (role, _) in enumerate(sizes[:-1]) if role != "system"), None)
        if oldest is None:
            break
        del sizes[oldest]
    return min(num_ctx, sum(size for _, size in sizes))


def _variation(asked: Asked, number: int) -> str:
    seed = asked.options.get("seed", -1)
    if asked.options.get("temperature") == 0 or seed not in (None, -1):
        return str(seed)
    return f"request {number}"


def _prose(asked: Asked, rng: random.Random) -> str:
    question = asked.messages[-1][1].strip() if asked.messages else ""
    quoted = question[:QUOTE_MAX] + ("…" if len(question) > QUOTE_MAX else "")
    danish = any(mark in f" {question.lower()} " for mark in DANISH_MARKS)
    opening = f"Du spørger: »{quoted}«." if danish else f"You ask: “{quoted}”."
    said = rng.sample(DANISH if danish else ENGLISH, k=rng.randint(3, 6))
    return " ".join([opening, *said])


def _stopped(text: str, stops: object) -> str:
    for stop in [stops] if isinstance(stops, str) else stops if isinstance(stops, list) else ():
        text = text.partition(str(stop))[0]
    return text
