"""Requests as hostile as they come: raw bytes for a socket, made by Hypothesis."""

import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any
from urllib.parse import quote

import msgspec
from hypothesis import strategies as st

from gateway.app import MODULES

OPERATIONS = [one for module in MODULES for one in module.OPERATIONS]
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE")

NUMBERS = (
    *(0, -1, 1, 2**31, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**30, -(10**30)),
    *(0.1, -0.0, 1e308, 5e-324, 86_400.5),
)
RAW_NUMBERS = (
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e400",
    b"-1e400",
    b"01",
    b"1.",
    b".5",
    b"9" * 400,
)
DATES = (
    *("2026-03-29T02:30:00+01:00", "2026-10-25T02:30:00+02:00", "9999-12-31T23:59:59Z"),
    *("9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "1970-01-01T00:00:00Z"),
    *("2026-02-30T00:00:00Z", "2026-06-30T23:59:60Z", "2026-01-01T00:00:00", "2026-01-01", "now"),
    *("2026-01-01T00:00:00+99:99", "10000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z"),
)
TEXTS = (
    *(
        "",
        " ",
        "\0",
        "a\0b",
        "\n",
        "echo\n",
        "\r\nx: y",
        "{}",
        "{rn}:keys",
        "*",
        "|",
        "%",
        "%00",
        "../..",
    ),
    *(
        "еcho",
        "ｅｃｈｏ",
        "echo\u200b",
        "\u202eohce",
        "ﬁ",
        "İ",
        "ß",
        "🦀",
        "\U0010ffff",
        "\ufeff",
        "\ufffd",
    ),
    *(
        "0-",
        "0-" + "z" * 26,
        "0-3prw0jk6j3hep7hx6b7zsgbwq1",
        "ep_",
        "msg_",
        "a" * 300,
        "'; DROP",
        "${7*7}",
    ),
    *("http://127.0.0.1", "https://a@b/", "https://[::1", "javascript:1", "//x", "https://x.dk\n"),
    *("-inf", "+inf", "(0", "0-0", "$", ">", "nan"),
)
STATES = ("waiting", "spooled", "dead", "Dead", "queued")

texts = st.sampled_from(TEXTS) | st.text(max_size=20)
numbers = (
    st.sampled_from(NUMBERS) | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
dates = st.sampled_from(DATES)
leaves = st.none() | st.booleans() | numbers | texts | dates
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
chance = st.integers(0, 19)  # of one in twenty

Draw = Callable[[st.SearchStrategy[Any]], Any]  # what Hypothesis gives to a composite


@cache
def pick(*options: Any) -> st.SearchStrategy[Any]:
    """One of these. Made once: making a strategy costs more than drawing from it."""
    return st.sampled_from(options)


GOOD: dict[str, Any] = {
    "processor": "echo",
    "payload": {"text": "hi"},
    "jobs": [{"processor": "echo", "payload": {"text": "x"}}] * 2,
    "url": "https://app.example/hooks",
    "app": "etyde",
    "scopes": ["read"],
}
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "processor": st.sampled_from(["echo", "еcho", "echo\n"]) | texts,
    "jobs": st.lists(st.just(GOOD["jobs"][0]) | values, max_size=3),
    "run_at": dates,
    "expires_at": dates,
    "delay_s": numbers,
    "ids": st.lists(texts, max_size=3),
    "events": st.lists(st.sampled_from(["dead", "DEAD", "waiting"]), max_size=5),
    "scopes": st.lists(st.sampled_from(["read", "admin", "root"]), max_size=6),
    "networks": st.lists(st.sampled_from(["10.0.0.0/8", "::/0", "10.0.0.1/8", "x"]), max_size=3),
    "app": st.sampled_from(["etyde", "*"]) | texts,
    "limits": st.dictionaries(st.sampled_from(["io", "ollama@x", "io@\n"]), numbers, max_size=2),
    "callback": st.just({"url": "https://app.example/hooks"}) | values,
}
QUERY = st.dictionaries(
    st.sampled_from(["cursor", "limit", "state", "app", "processor", "x"]) | texts,
    st.sampled_from([*STATES, "MTA", "LTE", "%"]) | texts | numbers.map(str),
    max_size=3,
)
BODIES = ("good", "good", "near", "near", "near", "value", "raw", "bytes", "deep", "twice")
BROKEN = (*RAW_NUMBERS, b'"\\ud800"', b'"\\x"', b'"\xff"', b"[1,]", b"\x00")


def body_of(draw: Draw, kind: type | None) -> bytes:
    """A body for an operation: right, nearly right, broken JSON, or bytes."""
    how = draw(pick(*BODIES))
    if how == "bytes":
        return bytes(draw(BYTES))
    if how == "deep":
        return bytes(draw(pick(b"[", b'{"a":', b"[{}," * 3)) * draw(pick(1, 63, 64, 65, 5_000)))
    if how == "value":
        return encoded(draw(values))
    struct = kind is not None and isinstance(kind, type(msgspec.Struct))
    names = tuple(field.encode_name for field in msgspec.structs.fields(kind)) if struct else ("x",)
    name = draw(pick(*names)) if names else "x"
    if how == "raw":
        return b'{"%s":%s}' % (name.encode(), draw(pick(*BROKEN)))
    body = encoded(made(draw, names, wrong=how != "good"))
    if how == "twice":  # a name that stands twice
        return body[:-1] + f',"{name}":1,"{name}":2}}'.encode()
    return body


def made(draw: Draw, names: Sequence[str], *, wrong: bool) -> dict[str, Any]:
    """An object with the fields of a request, up to two of them wrong."""
    fields = {name: value for name, value in GOOD.items() if name in names}
    if wrong and names:
        for _ in range(draw(pick(1, 2))):
            name = draw(pick(*names))
            fields[name] = draw(FIELDS.get(name, values))
        if draw(chance) == 0:
            fields[draw(texts)] = draw(values)
    return fields


def encoded(value: object) -> bytes:
    """JSON as Python writes it: NaN and lone surrogates included."""
    return json.dumps(value, allow_nan=True).encode()


def target_of(draw: Draw, path: str, names: tuple[str, ...]) -> str:
    """A path with its names filled in, and a query."""
    for part in ("{id}", "{name}"):
        if part in path:
            name = draw(pick(*names)) if draw(chance) < 12 else draw(texts)
            path = path.replace(part, quote(name, safe=draw(pick("", "/:%"))))
    query = draw(QUERY) if draw(chance) < 6 else {}
    if query:
        path += "?" + "&".join(f"{quote(name)}={quote(value)}" for name, value in query.items())
    return path


HEADERS = (
    *("Accept: text/html", "Accept: */*;q=0", "Accept: ,", "Expect: 100-continue", "Expect: x"),
    *(
        "Prefer: wait=0",
        "Prefer: wait=99999",
        "Prefer: wait=-1",
        "Idempotency-Key: a",
        "Range: bytes=0-1",
    ),
    *(
        "Idempotency-Key: ",
        f"Idempotency-Key: {'k' * 255}",
        f"Idempotency-Key: {'k' * 256}",
        "Cookie: a",
    ),
    *(
        "Traceparent: 00-x",
        "Content-Encoding: gzip",
        "X-Forwarded-For: 1,,;",
        "Upgrade: h2c",
        "TE: x",
    ),
    *(
        "Connection: close",
        "Connection: upgrade",
        "Host: other",
        "Content-Length: 3",
        "Content-Length: -1",
    ),
    *("Content-Type: text/plain", "Content-Type: application/json; charset=\u00e9", "X: \u00ff"),
    *(
        " folded: x",
        "no colon",
        ": empty",
        "a b: c",
        "Transfer-Encoding: gzip, chunked",
        "If-Match: *",
    ),
)
KEYS = (
    *(
        "",
        "Basic YTpi",
        "Bearer",
        "Bearer rn_",
        "Bearer rn__",
        "Bearer rn_a_b",
        "Bearer \u00ff",
        "bearer {key}x",
    ),
    *("Bearer {key} x", "Bearer rn_0123456789ab_" + "x" * 300, "Digest x"),
)


SUBMITS = [one for one in OPERATIONS if one.path in ("/v1/jobs", "/v1/jobs:batch")]
ANY_OPERATION = st.sampled_from([*OPERATIONS, *SUBMITS * 3])
SOME_HEADERS = st.lists(st.sampled_from(HEADERS), max_size=3)
BYTES = st.binary(max_size=80)
CRLF = b"\r\n"


@st.composite
def requests(draw: st.DrawFn, keys: tuple[str, ...], names: tuple[str, ...]) -> bytes:
    """One request: an operation of ours done right, nearly right, or worse.

    `names` are of things that exist.
    """
    key = draw(pick(*keys))
    one = draw(ANY_OPERATION)
    odd = draw(chance) == 0
    method = draw(pick(*METHODS, "G\0T", "get")) if odd else one.method
    authorization = f"Bearer {key}"
    if draw(chance) == 0:
        authorization = draw(pick(*KEYS)).replace("{key}", key)
    lines = [f"{method} {target_of(draw, one.path, names)} HTTP/1.1", "Host: localhost"]
    lines.append(f"Authorization: {authorization}")
    if draw(chance) < 5:
        lines += draw(SOME_HEADERS)
    body = b""
    if one.method != "GET" or odd:
        body = body_of(draw, one.body)
        lines.append("Content-Type: application/json")
    return framed(draw, "\r\n".join(lines).encode("latin-1", "replace"), body)


def framed(draw: Draw, head: bytes, body: bytes) -> bytes:
    """Head and body put together: with the length, in chunks, or in a way that cannot be."""
    how = draw(chance)
    length = CRLF + b"Content-Length: %d" % len(body)
    match how:
        case 0:
            size = draw(pick(b"%x", b"%X;x=y", b"0%x", b"-%x", b"g%x")) % len(body)
            end = draw(pick(b"0\r\n\r\n", b"0\r\nx: y\r\n\r\n", b"", b"00\r\n\r\n"))
            chunked = CRLF + b"Transfer-Encoding: chunked" + CRLF + CRLF
            return head + chunked + size + CRLF + body + CRLF + end
        case 1:
            length += draw(pick(b"\r\nContent-Length: 0", b"\r\nTransfer-Encoding: chunked"))
        case 2:
            length += CRLF + draw(BYTES)
        case 3:
            length += b"\r\nx: y" * draw(pick(95, 101, 1_000))
        case 4:
            length += b"\r\nx: " + b"y" * draw(pick(7_000, 17_000, 70_000))
        case 5:
            head = head.replace(
                b"HTTP/1.1", draw(pick(b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9.9", b"X"))
            )
        case 6:
            head = head.replace(CRLF, draw(pick(b"\n", b"\r", b"\r\n ")))
        case 7:
            return bytes(draw(BYTES)) + CRLF + CRLF
        case 8 if draw(chance) < 2:  # shorter than it says: the rest never comes
            length = CRLF + b"Content-Length: %d" % (len(body) + 5)
    return head + length + CRLF + CRLF + body
