"""Large inputs and results: in pieces up to a size, and beyond it as blobs outside of Redis.

A blob is referred to by `{"$blob": "id"}`: anywhere in a payload, or as the whole of a result. The
worker replaces it before the attempt: JSON by its value, text by a string, all else by base64.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from streams.errors import InvalidInput, TooLarge, Unavailable
from streams.scripts import Client, translated

PIECE_BYTES = 240 * 1024  # of one call, which then has less than 256 KiB
MARK = b'"$blob"'
NAME = "$blob"
DEPTH_MAX = 200

Place = tuple[str | int, ...]


class Blob(msgspec.Struct, frozen=True):
    """A blob's content, and what kind of content it is."""

    content: bytes
    media: str  # as in Content-Type


class Blobs(Protocol):
    """Where a worker finds blobs, and puts results that are too large for Redis."""

    async def fetch(self, blob_id: str) -> Blob:
        """A blob, whole. Raises UnknownBlob or Unavailable."""
        ...

    async def store(self, app: str, job_id: str, content: bytes) -> str:
        """Keep a result, JSON, for as long as the job's record; its id. Repeatable.

        Raises TooLarge or Unavailable.
        """
        ...


class NoBlobs:
    """For a worker that cannot reach any store."""

    async def fetch(self, blob_id: str) -> Blob:
        """Raises Unavailable."""
        raise Unavailable("this worker knows no store of blobs")

    async def store(self, app: str, job_id: str, content: bytes) -> str:
        """Raises TooLarge."""
        raise TooLarge(f"a result of {len(content)} bytes, and no store of blobs")


def may_refer(payload: bytes) -> bool:
    """Whether a payload may have references; cheap."""
    return MARK in payload


def references(value: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Every reference in a decoded payload: where, and the blob's id. Raises InvalidInput."""
    if len(place) > DEPTH_MAX:
        raise InvalidInput("nested too deeply")
    if isinstance(value, Mapping):
        if NAME in value:
            blob_id = value[NAME]
            if len(value) != 1 or not isinstance(blob_id, str):
                raise InvalidInput('a blob is referred to by {"$blob": "id"} and nothing else')
            yield place, blob_id
            return
        for name, inner in value.items():
            yield from references(inner, (*place, name))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for index, inner in enumerate(value):
            yield from references(inner, (*place, index))


def reference(blob_id: str) -> bytes:
    """The reference to a blob, JSON."""
    return msgspec.json.encode({NAME: blob_id})


def referred(result: bytes) -> str:
    """The blob that a whole result stands for, empty for none."""
    if not may_refer(result[:200]) or len(result) > 200:
        return ""
    try:
        value = msgspec.json.decode(result)
    except msgspec.DecodeError:
        return ""
    found = value.get(NAME) if isinstance(value, dict) and len(value) == 1 else None
    return found if isinstance(found, str) else ""


async def resolved(payload: bytes, blobs: Blobs) -> bytes:
    """`payload` with every blob in its place. Raises UnknownBlob, InvalidInput, Unavailable."""
    value = msgspec.json.decode(payload)
    found = dict(references(value))
    if not found:
        return payload
    contents = {blob_id: await blobs.fetch(blob_id) for blob_id in dict.fromkeys(found.values())}
    whole = contents[found[()]] if () in found else None
    if whole is not None and is_json(whole.media):
        return whole.content
    values = {blob_id: value_of(blob) for blob_id, blob in contents.items()}
    return msgspec.json.encode(_replaced(value, values))


def _replaced(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        if NAME in value:
            return values[value[NAME]]
        return {name: _replaced(inner, values) for name, inner in value.items()}
    if isinstance(value, list):
        return [_replaced(inner, values) for inner in value]
    return value


def value_of(blob: Blob) -> Any:
    """What stands in a payload for a blob. Raises InvalidInput for content that is not its kind."""
    try:
        if is_json(blob.media):
            return msgspec.Raw(_checked(blob.content))
        if blob.media.startswith("text/"):
            return blob.content.decode()
    except (ValueError, msgspec.DecodeError) as error:
        raise InvalidInput(f"a blob is no {blob.media}: {error}") from error
    return base64.b64encode(blob.content).decode()


def is_json(media: str) -> bool:
    """Whether a media type is JSON."""
    bare = media.partition(";")[0].strip().lower()
    return bare == "application/json" or bare.endswith("+json")


def _checked(content: bytes) -> bytes:
    msgspec.json.decode(content)
    return content


async def read_whole(redis: Client, key: str, size: int) -> bytes | None:
    """A value of that many bytes, in pieces of which each has the time of a call; None: not there.

    A value that changes is not read: those that are read here never do.
    """
    found = bytearray()
    while len(found) < size:
        with translated():
            piece = await redis.getrange(key, len(found), len(found) + PIECE_BYTES - 1)
        found += piece
        if len(piece) < PIECE_BYTES:
            break
    return bytes(found) if len(found) == size else None


async def read_many(redis: Client, keys: Sequence[str]) -> list[bytes | None]:
    """Values, the small ones together, never more than a piece in one answer."""
    with translated():
        async with redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.strlen(key)
            sizes: list[int] = await pipe.execute()
    found: dict[str, bytes | None] = {}
    together: list[str] = []
    held = 0
    for key, size in zip(keys, sizes, strict=True):
        if size > PIECE_BYTES:
            found[key] = await read_whole(redis, key, size)
            continue
        if together and held + size > PIECE_BYTES:
            found |= await _get(redis, together)
            together, held = [], 0
        together.append(key)
        held += size
    if together:
        found |= await _get(redis, together)
    return [found[key] for key in keys]


async def _get(redis: Client, keys: Sequence[str]) -> dict[str, bytes | None]:
    with translated():
        values = await redis.mget(keys)
    return dict(zip(keys, values, strict=True))
