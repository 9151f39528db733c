"""Scripts are put together from their headers; what Redis refuses becomes one of our errors."""

import pytest
from redis import exceptions as failures

from streams.errors import OutOfMemory, Unavailable
from streams.keyspace import PLAIN, PREFIXES, Keyspace
from streams.scripts import (
    bind,
    bound_settings,
    pairs,
    parse_header,
    read_sources,
    text,
    translated,
)
from streams.settings import EngineSettings

SETS = bound_settings(EngineSettings())
HEADER = """\
-- poke: say something.
--
-- uses  one two
-- KEYS  job_    HASH  by job
--       counts  HASH  class
-- SETS  crashes_max  int  deaths
-- ARGV  id       str  job
--       rest...  the others
-- Returns nothing.
--       not      an argument
local row = { counts = counts, [crashes_max] = row.counts .. job_ } -- counts
return id, 'counts', '\\'counts', crashes_max == crashes_max, job_x
"""
SOURCES = {
    "poke": HEADER,
    "lib/one": "-- one: first.\n-- KEYS  counts  HASH  class\nlocal one = 1\n",
    "lib/two": "-- two: second.\n-- SETS  events_max  int  cap\nlocal two = 2\n",
}


def test_a_header_is_read() -> None:
    header = parse_header(HEADER)
    assert header.uses == ("one", "two")
    assert header.keys == ("job_", "counts")
    assert header.sets == ("crashes_max",)
    assert header.argv == ("id", "rest...")


def test_a_script_is_its_bindings_its_libraries_and_itself() -> None:
    script = bind("poke", SOURCES, Keyspace("t"), SETS)
    assert script.text.splitlines()[:4] == [
        "local id = ARGV[1]",
        "local rest = 2",
        "-- one: first.",
        "-- KEYS  counts  HASH  class",
    ]
    assert script.text.endswith(
        "local row = { counts = '{t}:counts', [3] = row.counts .. '{t}:job:' } -- counts\n"
        "return id, 'counts', '\\'counts', 3 == 3, job_x\n"
    )
    assert script.text.index("local one") < script.text.index("local two")
    assert len(script.sha) == 40


def test_another_tag_or_setting_is_another_script() -> None:
    first = bind("poke", SOURCES, Keyspace("t"), SETS)
    assert bind("poke", SOURCES, Keyspace("u"), SETS).sha != first.sha
    assert bind("poke", SOURCES, Keyspace("t"), SETS | {"crashes_max": 4}).sha != first.sha
    assert bind("poke", SOURCES, Keyspace("t"), SETS) == first


@pytest.mark.parametrize(
    "wrong", ["-- x: y.\n-- KEYS  nonsense  HASH\n", "-- x: y.\n-- SETS  nonsense  int\n"]
)
def test_a_wrong_name_in_a_header_is_an_error(wrong: str) -> None:
    with pytest.raises(KeyError, match="nonsense"):
        bind("x", {"x": wrong}, Keyspace(), SETS)


@pytest.mark.parametrize("name", sorted(n for n in read_sources() if not n.startswith("lib/")))
def test_every_script_can_be_bound(name: str) -> None:
    sources = read_sources()
    script = bind(name, sources, Keyspace(), SETS)
    assert set(parse_header(sources[name]).keys) <= PLAIN | PREFIXES
    assert script.argv


@pytest.mark.parametrize(
    ("raised", "becomes"),
    [
        (failures.ConnectionError("gone"), Unavailable),
        (failures.TimeoutError("slow"), Unavailable),
        (failures.BusyLoadingError("loading"), Unavailable),
        (failures.ResponseError("LOADING Redis is loading"), Unavailable),
        (failures.ResponseError("MISCONF snapshots"), Unavailable),
        (failures.ReadOnlyError("READONLY replica"), Unavailable),
        (failures.OutOfMemoryError("command not allowed"), OutOfMemory),
        # Redis 6.2, from inside a script:
        (failures.ResponseError("Error running script: @user_script: -OOM command"), OutOfMemory),
        (failures.ResponseError("WRONGTYPE Operation"), failures.ResponseError),
        (failures.NoScriptError("NOSCRIPT"), failures.NoScriptError),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_what_redis_says_becomes_our_error(raised: Exception, becomes: type[Exception]) -> None:
    with pytest.raises(becomes) as caught, translated():
        raise raised
    assert type(caught.value) is becomes


def test_replies_are_narrowed() -> None:
    assert (text(None), text(b"a"), text("b")) == ("", "a", "b")
    assert pairs([1, 2, 3, 4]) == [(1, 2), (3, 4)]
    with pytest.raises(ValueError, match="shorter"):
        pairs([1])
