"""Bodies are judged before a decoder sees them."""

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from gateway.heads import Heads
from gateway.limits import Disconnected, check_acceptable, check_json_type, check_shape, read_body
from gateway.problems import NotAcceptable, TooSlow, UnsupportedMediaType
from gateway.settings import GatewaySettings
from streams.errors import TooLarge

SETTINGS = GatewaySettings(depth_max=8, containers_max=100)

JSON = st.recursive(
    st.none() | st.booleans() | st.text(alphabet='a"\\{}[]\n', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(alphabet='{}["\\', max_size=3), inner, max_size=3)
    ),
    max_leaves=30,
)


def heads(**headers: str) -> Heads:
    return Heads(
        [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    )


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


@given(JSON, st.integers(0, 8), st.integers(4, 8))
def test_depth_is_what_the_decoded_value_says(value: object, wraps: int, limit: int) -> None:
    for number in range(wraps):
        value = [value] if number % 2 else {"{": value}
    body = msgspec.json.encode(value)
    settings = GatewaySettings(depth_max=limit)
    if depth_of(value) > limit:
        with pytest.raises(TooLarge):
            check_shape(body, settings)
    else:
        check_shape(body, settings)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 9 + b"]" * 9,
        b'{"a":' * 9 + b"1" + b"}" * 9,
        b"[" * 100_000,
        b'["' + b"\\\\" * 3 + b'",' + b"[" * 9 + b"]" * 9 + b"]",
        b"[[]," * 20 + b"]" * 20,
    ],
)
def test_what_is_nested_too_deeply_is_refused(body: bytes) -> None:
    with pytest.raises(TooLarge):
        check_shape(body, SETTINGS)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 8 + b"]" * 8,
        b'"' + b"[" * 1_000 + b'"',
        b'["\\"' + b"[" * 1_000 + b'"]',
        b"[" + b"[]," * 40 + b"[]]",
        b"",
    ],
)
def test_brackets_in_strings_and_side_by_side_do_not_nest(body: bytes) -> None:
    check_shape(body, SETTINGS)


def test_too_many_containers_are_refused() -> None:
    with pytest.raises(TooLarge, match="100 objects"):
        check_shape(b"[" + b"{}," * 101 + b"{}]", SETTINGS)


@pytest.mark.parametrize(
    "declared", ["application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json"]
)
def test_json_types_are_taken(declared: str) -> None:
    check_json_type(heads(content_type=declared))


@pytest.mark.parametrize("declared", ["", "text/plain", "application/jsonp", "text/json+json"])
def test_other_types_are_refused(declared: str) -> None:
    with pytest.raises(UnsupportedMediaType):
        check_json_type(heads(content_type=declared))


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html, application/*;q=0.8"])
def test_acceptable(accept: str) -> None:
    check_acceptable(heads(accept=accept), "application/json")


@pytest.mark.parametrize("accept", ["text/html", "image/*, text/*"])
def test_not_acceptable(accept: str) -> None:
    with pytest.raises(NotAcceptable):
        check_acceptable(heads(accept=accept), "application/json")


class Sent:
    """What the client sends, piece by piece."""

    def __init__(self, *pieces: bytes, ends: bool = True) -> None:
        self.pieces = list(pieces)
        self.ends = ends
        self.asked = 0

    async def receive(self) -> Message:
        self.asked += 1
        if not self.pieces:
            if self.ends:
                return {"type": "http.disconnect"}
            await asyncio.Event().wait()
        more = len(self.pieces) > 1 or not self.ends
        return {"type": "http.request", "body": self.pieces.pop(0), "more_body": more}


async def body_of(sent: Sent, within_s: float = 5.0, **headers: str) -> bytes:
    return await read_body(sent.receive, heads(**headers), max_bytes=10, within_s=within_s)


async def test_a_body_in_pieces_is_put_together() -> None:
    assert await body_of(Sent(b"01234", b"56789")) == b"0123456789"


async def test_a_declared_length_over_the_limit_is_refused_unread() -> None:
    sent = Sent(b"0")
    with pytest.raises(TooLarge):
        await body_of(sent, content_length="11")
    assert sent.asked == 0


async def test_a_lying_length_is_refused_when_the_limit_is_passed() -> None:
    sent = Sent(b"01234", b"56789", b"x", b"y", b"z")
    with pytest.raises(TooLarge):
        await body_of(sent, content_length="1")
    assert sent.asked == 3


async def test_one_oversized_piece_is_refused() -> None:
    with pytest.raises(TooLarge):
        await body_of(Sent(b"0123456789x"))


async def test_a_body_that_stalls_is_given_up() -> None:
    with pytest.raises(TooSlow):
        await body_of(Sent(b"0", ends=False), within_s=0.02)


async def test_a_client_that_goes_away_is_noticed() -> None:
    sent = Sent()
    with pytest.raises(Disconnected):
        await body_of(sent)
