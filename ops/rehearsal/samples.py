"""The samples of a processor: `samples/<name>/*.json` beside its code."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

import processors.builtin
from ops.rehearsal.cast import Cast
from streams.errors import Rejected

BUILTIN = Path(processors.builtin.__file__).parent
PREFERRED = "plain"  # the sample that is meant where none is named
EVERY = "all"
ANSWERS = "answers"  # beside the samples: what the simulated model says to each


class Sample(msgspec.Struct, frozen=True):
    """One input that ships with a processor, and what a simulated model answers to it."""

    name: str
    payload: bytes
    answers: tuple[str, ...] = ()


def samples_of(cast: Cast, wanted: str = "", folders: Iterable[Path] = ()) -> list[Sample]:
    """The sample of that name, or in that file; `all` of them; "": the one named `plain`, or first.

    Raises Rejected with the names there are.
    """
    if wanted.endswith(".json") or "/" in wanted:
        return [read(Path(wanted))]
    places = [*cast.folders, BUILTIN, *folders]
    found = {
        file.stem: file
        for place in dict.fromkeys(places)
        for file in sorted((place.expanduser() / "samples" / cast.name).glob("*.json"))
    }
    if not found:
        raise Rejected(f"{cast.name} ships no sample; give it one with --input")
    if wanted == EVERY:
        return [read(file) for file in found.values()]
    name = wanted or (PREFERRED if PREFERRED in found else next(iter(found)))
    if name not in found:
        raise Rejected(f"{cast.name} has no sample {name!r}; there are {', '.join(found)}")
    return [read(found[name])]


def read(file: Path) -> Sample:
    """A sample with its answers. Raises Rejected for a file that cannot be read, or no JSON."""
    try:
        payload = file.expanduser().read_bytes()
        msgspec.json.decode(payload)
        return Sample(file.stem, payload, answers_in(file.parent / ANSWERS / file.name))
    except OSError as error:
        raise Rejected(f"{file}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise Rejected(f"{file} is no JSON: {error}") from error


def answers_in(file: Path) -> tuple[str, ...]:
    """The answers of a file: a list, in the order in which the model is asked."""
    if not file.is_file():
        return ()
    said: Sequence[object] = msgspec.json.decode(file.read_bytes(), type=list[object])
    return tuple(one if isinstance(one, str) else msgspec.json.encode(one).decode() for one in said)
