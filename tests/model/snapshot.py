"""All of Redis as one value, read in one call: nothing can move between two looks at it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from redis import Redis

from streams.keyspace import COURIERS, GROUP, Keyspace
from streams.scripts import pairs, text

KEYS = Keyspace()
READ = """
local found = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind, value = redis.call('TYPE', key).ok, nil
  if kind == 'string' then value = redis.call('GET', key)
  elseif kind == 'hash' then value = redis.call('HGETALL', key)
  elseif kind == 'set' then value = redis.call('SMEMBERS', key)
  elseif kind == 'zset' then value = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  else
    value = { redis.call('XRANGE', key, '-', '+') }
    for _, group in ipairs(redis.call('XINFO', 'GROUPS', key)) do
      local known = {}
      for i = 1, #group, 2 do known[group[i]] = group[i + 1] end
      value[#value + 1] = { known.name, known['last-delivered-id'],
        redis.call('XPENDING', key, known.name, '-', '+', 10000) }
    end
  end
  found[#found + 1] = { key, kind, redis.call('PTTL', key), value }
end
return found
"""
TIMES = ("{rn}:clock:",)  # move with every call and say nothing of any job


@dataclass(frozen=True)
class Group:
    """A consumer group: the newest entry it delivered, and what is pending by consumer."""

    last: str
    pending: dict[str, str]


@dataclass(frozen=True)
class Stream:
    """A stream's entries in order, and the one consumer group that it has or lacks."""

    entries: dict[str, dict[str, str]]
    group: Group | None

    @property
    def undelivered(self) -> list[str]:
        """Entries that the group has not delivered, oldest first; all when there is no group."""
        last = place(self.group.last) if self.group else (0, 0)
        return [entry for entry in self.entries if place(entry) > last]


@dataclass(frozen=True)
class Snapshot:
    """Every key: its value as Python has it, and its milliseconds to live, -1 for ever."""

    values: dict[str, Any]
    lifetimes: dict[str, int]

    def get(self, name: str, suffix: str = "") -> Any:
        """The value of a key of the table, or an empty dict."""
        return self.values.get(KEYS.key(name, suffix), {})

    def under(self, prefix: str) -> dict[str, Any]:
        """All keys of a prefix of the table, by what follows it."""
        start = KEYS.key(prefix)
        return {k.removeprefix(start): v for k, v in self.values.items() if k.startswith(start)}

    @property
    def callback_leases(self) -> dict[str, tuple[str, float]]:
        """Deliveries under way: callback → its entry and deadline."""
        rows = [
            (*member.split("|"), score) for member, score in self.get("callback_leases").items()
        ]
        return {callback: (entry, score) for callback, entry, _, score in rows}

    @cached_property
    def events(self) -> list[list[str]]:
        """The event stream's lines, split into their fields."""
        stream = self.get("events")
        entries = stream.entries.values() if stream else ()
        return [line.split("\t") for entry in entries for line in entry["e"].split("\n")]

    @cached_property
    def fixed(self) -> dict[str, Any]:
        """What a repeated call must leave as it was: all but clocks, deadlines and progress."""
        kept = {k: v for k, v in self.values.items() if not k.startswith(TIMES)}
        for key in kept:
            if key.startswith((KEYS.key("leases_"), KEYS.key("callback_leases"))):
                kept[key] = set(kept[key])
        kept.pop(KEYS.key("events"), None)
        kept["events"] = [line for line in self.events if line[0] != "progress"]
        return {**kept, "kept for ever": {k for k, ms in self.lifetimes.items() if ms == -1}}


def place(entry: str) -> tuple[int, int]:
    """An entry's id in the order of Redis."""
    first, _, second = entry.partition("-")
    return int(first), int(second)


def read(redis: "Redis[bytes]") -> Snapshot:
    """Look at everything."""
    values, lifetimes = {}, {}
    for raw, kind, ms, value in redis.eval(READ, 0):
        key = text(raw)
        lifetimes[key] = ms
        match kind:
            case b"string":
                values[key] = value
            case b"hash":
                values[key] = {text(k): text(v) for k, v in pairs(value)}
            case b"set":
                values[key] = {text(member) for member in value}
            case b"zset":
                values[key] = {text(member): float(score) for member, score in pairs(value)}
            case _:
                values[key] = _stream(value)
    return Snapshot(values, lifetimes)


def _stream(value: list[Any]) -> Stream:
    rows, *groups = value
    entries = {text(i): {text(k): text(v) for k, v in pairs(fields)} for i, fields in rows}
    known = [
        Group(text(last), {text(row[0]): text(row[1]) for row in pending})
        for name, last, pending in groups
        if text(name) in (GROUP, COURIERS)
    ]
    return Stream(entries, known[0] if known else None)
