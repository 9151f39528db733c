"""The Lua scripts: read once, bound to one keyspace and its settings, called by EVALSHA.

A script's header is its contract: `uses` names the parts of lua/lib that are put before it, KEYS
the keys and prefixes that it touches, SETS the settings that it needs, ARGV its arguments in order
(a last one that ends in `...` takes all that follow). Names of keys and settings are replaced by
what they stand for, so that a call carries arguments only; one key travels along for routing. (As
locals they would cost: the functions of a script are made anew in each call, and for each local
that one uses Lua goes through those that others use.)
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import resources
from typing import Any

import msgspec
from redis import exceptions as failures

from streams.errors import OutOfMemory, Unavailable
from streams.keyspace import Keyspace
from streams.settings import EngineSettings

SECTION = re.compile(r"^-- (uses|KEYS|SETS|ARGV) +(.*)$")
CONTINUED = re.compile(r"^--       (\S.*)$")
# A comment or a string, to be passed over, or a name; what names a field of a table is none.
WORD = re.compile(r"""--[^\n]*|'(?:\\.|[^'\\])*'|(?<!\w)(?<![^.]\.)[A-Za-z_]\w*\b(?! =[^=])""")
# redis.asyncio.Redis. Its annotations promise every shape of reply at once, so replies are narrowed
# by hand where they arrive.
Client = Any
AWAY = (failures.ConnectionError, failures.TimeoutError, failures.BusyLoadingError)
AWAY_CODES = (
    *("LOADING", "MISCONF", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY "),
    *(
        "NOREPLICAS",
        "NOPERM",
        "NOAUTH",
        "WRONGPASS",
        "ACL failure",
        "The user executing the script",
    ),
)


class Header(msgspec.Struct, frozen=True):
    """What a script's header declares."""

    uses: tuple[str, ...]
    keys: tuple[str, ...]
    sets: tuple[str, ...]
    argv: tuple[str, ...]


class Script(msgspec.Struct, frozen=True):
    """A script ready to be called: its whole text and the SHA-1 that names it in Redis."""

    name: str
    argv: tuple[str, ...]
    text: str
    sha: str


def parse_header(text: str) -> Header:
    """Read the declarations from the comment at the top of a script."""
    found: dict[str, list[str]] = {"uses": [], "KEYS": [], "SETS": [], "ARGV": []}
    section = ""
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        if match := SECTION.match(line):
            section, declared = match.groups()
        elif section and (match := CONTINUED.match(line)):
            declared = match.group(1)
        else:
            section = ""
            continue
        found[section].extend(declared.split() if section == "uses" else declared.split()[:1])
    return Header(*(tuple(found[name]) for name in ("uses", "KEYS", "SETS", "ARGV")))


def bound_settings(settings: EngineSettings) -> dict[str, int]:
    """The settings that a header may name under SETS."""
    return {
        "events_max": settings.events_max,
        "open_gap_ms": settings.open_gap_ms,
        "return_grace_ms": settings.return_grace_ms,
        "retention_ms": settings.retention_s * 1000,
        "dead_retention_ms": settings.dead_retention_s * 1000,
        "callback_inline_max_bytes": settings.callback_inline_max_bytes,
        "crashes_max": settings.crashes_max,
        "take_payload_max_bytes": settings.take_payload_max_bytes,
        "payload_inline_max_bytes": settings.payload_inline_max_bytes,
        "tokens_max_bytes": settings.tokens_max_bytes,
        "cache_entries_max": settings.cache_entries_max,
        "usage_retention_ms": settings.usage_retention_s * 1000,
    }


def bind(
    name: str, sources: Mapping[str, str], keyspace: Keyspace, sets: Mapping[str, int]
) -> Script:
    """Put a script, its libraries and its bindings together. Raises KeyError for a wrong name."""
    header = parse_header(sources[name])
    libraries = [f"lib/{library}" for library in header.uses]
    headers = [parse_header(sources[library]) for library in libraries] + [header]
    keys = dict.fromkeys(key for each in headers for key in each.keys)
    used = dict.fromkeys(setting for each in headers for setting in each.sets)
    constants = {key: f"'{keyspace.key(key)}'" for key in keys}
    constants |= {setting: str(sets[setting]) for setting in used}
    lines = []
    for index, argument in enumerate(header.argv, 1):
        rest = argument.endswith("...")
        value = index if rest else f"ARGV[{index}]"
        lines.append(f"local {argument.removesuffix('...')} = {value}")
    code = "\n".join([*(sources[library] for library in libraries), sources[name]])
    bound = WORD.sub(lambda word: constants.get(word[0], word[0]), code)
    body = "\n".join([*lines, bound])
    return Script(name, header.argv, body, hashlib.sha1(body.encode()).hexdigest())


@cache
def read_sources() -> Mapping[str, str]:
    """The text of every script and library by name, `take` or `lib/finish`."""
    folder = resources.files("streams") / "lua"
    found = {}
    for directory, prefix in ((folder, ""), (folder / "lib", "lib/")):
        for file in directory.iterdir():
            if file.name.endswith(".lua"):
                found[prefix + file.name.removesuffix(".lua")] = file.read_text("utf-8")
    return found


class Scripts:
    """All scripts bound to one keyspace, callable on one Redis."""

    def __init__(
        self,
        redis: Client,
        keyspace: Keyspace,
        settings: EngineSettings,
        sources: Mapping[str, str] | None = None,
    ) -> None:
        self._redis = redis
        self._route = keyspace.key("counts")
        sources, sets = sources or read_sources(), bound_settings(settings)
        self._scripts = {
            name: bind(name, sources, keyspace, sets)
            for name in sources
            if not name.startswith("lib/")
        }

    def __getitem__(self, name: str) -> Script:
        return self._scripts[name]

    def __iter__(self) -> Iterator[Script]:
        return iter(self._scripts.values())

    async def run(self, name: str, *arguments: str | bytes | int | float) -> Any:
        """Run one script with its arguments in the order of its header.

        Raises OutOfMemory when Redis refused the write whole, Unavailable when it cannot answer,
        and redis.ResponseError for everything that should not happen.
        """
        script = self._scripts[name]
        with translated():
            try:
                return await self._redis.execute_command(
                    "EVALSHA", script.sha, 1, self._route, *arguments
                )
            except failures.NoScriptError:
                return await self._redis.execute_command(
                    "EVAL", script.text, 1, self._route, *arguments
                )


@contextmanager
def translated() -> Iterator[None]:
    """Turns what redis-py raises into the platform's errors; 6.2 and 7 word them differently."""
    try:
        yield
    except AWAY as error:
        raise Unavailable(f"Redis does not answer: {error}") from error
    except failures.ResponseError as error:
        message = str(error)
        if isinstance(error, failures.OutOfMemoryError) or "OOM " in message:
            raise OutOfMemory("Redis is at its memory limit", after_s=5.0) from error
        if any(code in message for code in AWAY_CODES):
            raise Unavailable(f"Redis cannot serve: {message}") from error
        raise


def text(raw: bytes | str | None) -> str:
    """A reply as text; nothing is the empty text."""
    if raw is None:
        return ""
    return raw.decode() if isinstance(raw, bytes) else raw


def pairs(flat: Iterable[Any]) -> list[tuple[Any, Any]]:
    """A flat reply of alternating values, two by two."""
    values = iter(flat)
    return list(zip(values, values, strict=True))
