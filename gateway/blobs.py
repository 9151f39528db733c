"""Blobs over HTTP: an app puts what is too large for a payload, and refers to it by its id.

Workers come by a way of their own, with signed URLs: see `gateway.blob_link`.
"""

import asyncio
import re
from collections.abc import AsyncIterator

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from gateway.auth import Scope, app_of, sees
from gateway.blob_keeper import BlobKeeper
from gateway.blob_link import check_signed
from gateway.blob_store import BlobRecord, BlobStore, Coming
from gateway.call import JSON, Call, Operation, answer
from gateway.heads import Heads
from gateway.limits import Disconnected
from gateway.problems import LengthRequired, RangeRefused, TooSlow
from gateway.rate import BYTES
from gateway.wire_blobs import BlobView
from streams.blobs import referred
from streams.errors import (
    DiskRefused,
    InvalidInput,
    NotAuthenticated,
    StorageFull,
    TooLarge,
    UnknownBlob,
)
from streams.model import Job

MEDIA = re.compile(r"[a-z0-9!#$&^_.+-]{1,60}/[a-z0-9!#$&^_.+-]{1,60}(; ?charset=[\w-]{1,40})?")
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
ANY_MEDIA = "*/*"
SAFE = {
    "content-disposition": "attachment",
    "x-content-type-options": "nosniff",
    "cache-control": "private, no-cache",
    "accept-ranges": "bytes",
}


async def put_blob(call: Call) -> Response:
    """Keep a body of any kind as a blob: 201, safe on disk.

    The same content again is the same blob, so a lost answer may be asked for again. A blob that no
    job refers to is dropped after a day, others with their jobs' records.
    """
    keeper = keeper_of(call)
    app = app_of(call.key, None)
    size = declared(call.headers, keeper.max_bytes)
    await call.parts.rates.spend(app, BYTES, size)
    coming = Coming(app, size, media_of(call.headers))
    record = await keeper.store.put(coming, arriving(call, size))
    return answer(view_of(record), 201, {"location": f"/v1/blobs/{record.id}"})


async def read_blob(call: Call) -> Response:
    """A blob's bytes, or with `Range` some of them."""
    keeper = keeper_of(call)
    record = await keeper.store.find(call.name("id"))
    if record is None or not sees(call.key, record.app):
        raise UnknownBlob(f"there is no blob {call.name('id')[:100]}")
    return BlobResponse(record, keeper.store, call.headers)


async def read_blob_signed(call: Call) -> Response:
    """A blob's bytes, for a worker with a signed URL."""
    keeper = signed_keeper(call)
    record = await keeper.store.find(call.name("id"))
    if record is None:
        raise UnknownBlob(f"there is no blob {call.name('id')[:100]}")
    return BlobResponse(record, keeper.store, call.headers)


async def put_result_signed(call: Call) -> Response:
    """Keep a result that is too large for Redis, for a worker with a signed URL."""
    keeper = signed_keeper(call)
    query = call.request.query_params
    size = declared(call.headers, keeper.max_bytes)
    media = media_of(call.headers)
    coming = Coming(query.get("app", ""), size, media, query.get("job", ""))
    record = await keeper.store.put(coming, arriving(call, size))
    return answer(view_of(record), 201)


async def result_of(call: Call, job: Job, result: bytes) -> Response:
    """A job's result: as it is, or the blob that it stands for."""
    blob_id = referred(result)
    if not blob_id:
        return Response(result, media_type=JSON)
    keeper = keeper_of(call)
    record = await keeper.store.find(blob_id)
    if record is None or record.app != job.lane.app:
        raise UnknownBlob("the result is a blob of another gateway, or is gone")
    return BlobResponse(record, keeper.store, call.headers)


def view_of(record: BlobRecord) -> BlobView:
    """A blob as it is shown."""
    return BlobView(record.id, record.bytes, record.sha256, record.media)


def keeper_of(call: Call) -> BlobKeeper:
    """The gateway's blobs. Raises DiskRefused where it keeps none."""
    if call.parts.blobs is None:
        raise DiskRefused("this gateway keeps no blobs", after_s=3_600.0)
    return call.parts.blobs


def signed_keeper(call: Call) -> BlobKeeper:
    """The same, for a signed URL. Raises NotAuthenticated for any other."""
    keeper = keeper_of(call)
    request = call.request
    method = "GET" if request.method == "HEAD" else request.method
    now_s = call.parts.clock.now_ms() / 1_000
    check_signed(keeper.store.secret, method, request.url.path, request.query_params, now_s)
    return keeper


def declared(headers: Heads, at_most: int) -> int:
    """How much will come. Raises LengthRequired, TooLarge, and InvalidInput for nothing at all."""
    length = headers.get("content-length", "")
    if not length.isdecimal():
        raise LengthRequired("a blob needs a Content-Length: its room is reserved first")
    if len(length) > 18 or int(length) > at_most:
        raise TooLarge(f"the blob has {length[:50]} bytes, the limit is {at_most}")
    if not int(length):
        raise InvalidInput("a blob has at least one byte", "$")
    return int(length)


def media_of(headers: Heads) -> str:
    """The declared kind of content. Raises InvalidInput for what is none."""
    media = headers.get("content-type", "application/octet-stream").strip().lower()
    if not MEDIA.fullmatch(media):
        raise InvalidInput("not a media type", "$.headers.content-type")
    return media


async def arriving(call: Call, size: int) -> AsyncIterator[bytes]:
    """The body, piece by piece; each has a while to come. Raises TooSlow or Disconnected."""
    limit_s = call.parts.settings.body_read_s
    left = size
    while left:
        try:
            async with asyncio.timeout(limit_s):
                event = await call.receive()
        except TimeoutError:
            raise TooSlow(f"nothing of the body arrived for {limit_s:g} s") from None
        if event["type"] == "http.disconnect":
            raise Disconnected("the client went away")
        piece: bytes = event.get("body", b"")
        left -= len(piece)
        if left < 0 or (left and not event.get("more_body", False)):
            raise Disconnected("the body has not the length that was declared")
        yield piece


class BlobResponse(StreamingResponse):
    """A blob's bytes, streamed; of a range only those."""

    def __init__(self, record: BlobRecord, store: BlobStore, asked: Heads) -> None:
        """Raises RangeRefused."""
        start, end = wanted(asked, record)
        headers = {**SAFE, "etag": f'"{record.sha256}"', "content-length": str(end - start)}
        status = 200
        if (start, end) != (0, record.bytes):
            status = 206
            headers["content-range"] = f"bytes {start}-{end - 1}/{record.bytes}"
        pieces = store.read(record.id, start, end)
        super().__init__(pieces, status, headers, record.media)

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Send the bytes; to a HEAD only how many there are."""
        if scope["method"] != "HEAD":
            await super().__call__(scope, receive, send)
            return
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": b""})


def wanted(headers: Heads, record: BlobRecord) -> tuple[int, int]:
    """The bytes that are asked for: all, or one range of them. Raises RangeRefused."""
    match = RANGE.fullmatch(headers.get("range", ""))
    if match is None or match.groups() == ("", ""):
        return 0, record.bytes  # what is no single range of bytes is ignored
    if headers.get("if-range", "") not in ("", f'"{record.sha256}"'):
        return 0, record.bytes
    first, last = match.groups()
    if not first:
        start, end = max(0, record.bytes - int(last)), record.bytes
    else:
        start = int(first)
        end = min(int(last) + 1, record.bytes) if last else record.bytes
    if start >= end:
        raise RangeRefused(f"the blob has {record.bytes} bytes", record.bytes)
    return start, end


PUTTING = (LengthRequired, TooLarge, InvalidInput, StorageFull, DiskRefused, TooSlow)

OPERATIONS = (
    Operation(
        "PUT",
        "/v1/blobs",
        "Keep something large that jobs refer to",
        put_blob,
        Scope.SUBMIT,
        body=bytes,
        answers={201: BlobView},
        errors=PUTTING,
    ),
    Operation(
        "GET",
        "/v1/blobs/{id}",
        "Read a blob",
        read_blob,
        Scope.READ,
        answers={200: bytes, 206: bytes},
        errors=(UnknownBlob, RangeRefused, DiskRefused),
        media=ANY_MEDIA,
    ),
    Operation(
        "GET",
        "/internal/blobs/{id}",
        "Read a blob by a URL that a worker has signed",
        read_blob_signed,
        None,
        answers={200: bytes, 206: bytes},
        errors=(NotAuthenticated, UnknownBlob, RangeRefused, DiskRefused),
        media=ANY_MEDIA,
    ),
    Operation(
        "PUT",
        "/internal/blobs",
        "Keep a result by a URL that a worker has signed",
        put_result_signed,
        None,
        body=bytes,
        answers={201: BlobView},
        errors=(*PUTTING, NotAuthenticated),
    ),
)
