"""The whole keyspace as one plain dict, so that a test compares everything and not one field."""

from typing import Any

from redis.asyncio import Redis

Value = Any


async def whole_state(redis: "Redis", *, but: tuple[str, ...] = ()) -> dict[str, Value]:
    """Every key with its value: str, list, set, dict (hash and sorted set), or stream.

    A stream is `{"entries": {id: fields}, "groups": {group: {entry id: (consumer, deliveries)}}}`.
    Keys that start with one of `but` are left out.
    """
    names = [key.decode() async for key in redis.scan_iter(count=1000)]
    return {
        name: await _value(redis, name) for name in sorted(set(names)) if not name.startswith(but)
    }


async def lifetimes(redis: "Redis") -> dict[str, int | None]:
    """Every key with the milliseconds it still has, None for keys that stay."""
    names = [key.decode() async for key in redis.scan_iter(count=1000)]
    left = {name: await redis.pttl(name) for name in sorted(set(names))}
    return {name: ms if ms >= 0 else None for name, ms in left.items() if ms != -2}


async def _value(redis: "Redis", name: str) -> Value:
    match (await redis.type(name)).decode():
        case "string":
            return _text(await redis.get(name))
        case "hash":
            return {_text(k): _text(v) for k, v in (await redis.hgetall(name)).items()}
        case "set":
            return {_text(member) for member in await redis.smembers(name)}
        case "list":
            return [_text(item) for item in await redis.lrange(name, 0, -1)]
        case "zset":
            pairs = await redis.zrange(name, 0, -1, withscores=True)
            return {_text(member): score for member, score in pairs}
        case "stream":
            return await _stream(redis, name)
        case other:
            raise AssertionError(f"{name} has the type {other}, which no key of ours has")


async def _stream(redis: "Redis", name: str) -> Value:
    entries = {
        _text(entry_id): {_text(k): _text(v) for k, v in fields.items()}
        for entry_id, fields in await redis.xrange(name)
    }
    groups = {}
    for group in await redis.xinfo_groups(name):
        pending = await redis.xpending_range(name, group["name"], "-", "+", 100_000)
        groups[_text(group["name"])] = {
            _text(lease["message_id"]): (_text(lease["consumer"]), lease["times_delivered"])
            for lease in pending
        }
    return {"entries": entries, "groups": groups}


def _text(raw: bytes | str) -> str:
    return raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw
