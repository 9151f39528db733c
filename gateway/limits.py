"""What a request body may be: JSON, arriving in time, not too large, not too deep.

Everything here happens before a decoder sees the bytes.
"""

import asyncio
import re
from typing import TypeVar

from starlette.types import Receive

from gateway.heads import Heads
from gateway.problems import (
    ExpectationFailed,
    LengthRequired,
    MalformedJson,
    NotAcceptable,
    TooSlow,
    UnsupportedMediaType,
)
from gateway.settings import GatewaySettings
from streams.errors import Rejected, TooLarge

STRUCTURE = b'[]{}"'
NOT_STRUCTURE = bytes(set(range(256)) - set(STRUCTURE))
BRACES_AS_BRACKETS = bytes.maketrans(b"{}", b"[]")
LENGTH_DIGITS = 18
NEVER = re.compile(r";\s*q=0(?:\.0{0,3})?\s*(?:;|$)")

Body = TypeVar("Body", bytes, bytearray)


class Disconnected(Rejected):
    """The client went away before its body had arrived; nobody will read the answer."""


async def read_body(
    receive: Receive, headers: Heads, *, max_bytes: int, within_s: float, here: bool = False
) -> bytes:
    """The whole body, or TooLarge as soon as it is known, for declared and chunked ones alike.

    `here` says that all of it has arrived, so that there is nothing to wait for.
    """
    declared = headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > LENGTH_DIGITS or int(declared) > max_bytes):
        raise TooLarge(f"the body has {declared[:50]} bytes, the limit is {max_bytes}")
    if here:
        return await _receive_body(receive, max_bytes)
    try:
        async with asyncio.timeout(within_s):
            return await _receive_body(receive, max_bytes)
    except TimeoutError:
        raise TooSlow(f"the body did not arrive within {within_s:g} s") from None


def check_json_type(headers: Heads) -> None:
    """Raise UnsupportedMediaType unless the body is declared as JSON."""
    declared = headers.get("content-type", "")
    media = declared.partition(";")[0].strip().lower()
    if media != "application/json" and not (
        media.startswith("application/") and media.endswith("+json")
    ):
        raise UnsupportedMediaType(f"the body is declared as {media[:100] or 'nothing'}")
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        raise UnsupportedMediaType("the body is declared as compressed")


def check_acceptable(headers: Heads, media: str) -> None:
    """Raise NotAcceptable when the `Accept` header excludes `media`."""
    if "accept" not in headers:
        return
    accept = ",".join(headers.getlist("accept")).lower()
    if accept in ("", "*/*", media) or media == "*/*":  # any kind is answered
        return
    wanted = {}
    for part in accept.split(","):
        name, _, parameters = part.partition(";")
        wanted[name.strip()] = not NEVER.search(f";{parameters}")
    for name in (media, media.partition("/")[0] + "/*", "*/*"):  # the closest one counts
        if name in wanted:
            if wanted[name]:
                return
            break
    raise NotAcceptable(f"this path answers {media}")


def check_expectation(headers: Heads) -> None:
    """Raise ExpectationFailed for an `Expect` that nobody here can fulfil."""
    if "expect" in headers and headers.get("expect").strip().lower() != "100-continue":
        raise ExpectationFailed("only 100-continue can be expected")


def check_present(headers: Heads) -> None:
    """Raise what is wrong when a body was needed and none came."""
    if "content-length" not in headers and "transfer-encoding" not in headers:
        raise LengthRequired("send a Content-Length, or the body in chunks")
    raise MalformedJson("the body is empty")


def check_shape(body: bytes, settings: GatewaySettings) -> None:
    """Raise TooLarge for JSON that is nested deeper, or has more containers, than allowed.

    Counts only; whether the bytes are JSON is for the decoder to say.
    """
    containers = body.count(b"{") + body.count(b"[")
    if containers <= settings.depth_max:
        return
    brackets = _brackets(body)
    if len(brackets) // 2 > settings.containers_max:
        raise TooLarge(f"more than {settings.containers_max} objects and arrays")
    if _depth(brackets, settings.depth_max) > settings.depth_max:
        raise TooLarge(f"nested deeper than {settings.depth_max}")


async def _receive_body(receive: Receive, max_bytes: int) -> bytes:
    event = await receive()
    first: bytes = event.get("body", b"")
    if not event.get("more_body", False) and event["type"] == "http.request":
        return _within(first, max_bytes)
    body = bytearray(first)
    while event.get("more_body", False):
        _within(body, max_bytes)
        event = await receive()
        body += event.get("body", b"")
    if event["type"] == "http.disconnect":
        raise Disconnected("the client went away")
    return bytes(_within(body, max_bytes))


def _within(body: Body, max_bytes: int) -> Body:
    if len(body) > max_bytes:
        raise TooLarge(f"the body has more than {max_bytes} bytes")
    return body


def _brackets(body: bytes) -> bytes:
    """The brackets of `body` outside its strings, braces as square ones."""
    if b"\\" in body:  # in JSON a backslash stands inside strings only
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside = body.translate(None, NOT_STRUCTURE).split(b'"')[::2]
    return b"".join(outside).translate(BRACES_AS_BRACKETS)


def _depth(brackets: bytes, at_most: int) -> int:
    """How deep balanced `brackets` nest; `at_most` + 1 for anything deeper."""
    for depth in range(at_most):
        if not brackets:
            return depth
        shorter = brackets.replace(b"[]", b"")
        if len(shorter) == len(brackets):  # unbalanced: bounded by what is left
            return depth + shorter.count(b"[")
        brackets = shorter
    return at_most + 1 if brackets else at_most
