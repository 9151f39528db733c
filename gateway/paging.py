"""Cursors of listings as the outside sees them: opaque, and refused when they are made up."""

import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from gateway.wire import PageView
from streams.errors import InvalidInput
from streams.model import Page

T = TypeVar("T")
V = TypeVar("V")

LIMIT_DEFAULT = 50


def cursor_of(text: str) -> str:
    """The engine's cursor inside an opaque one. Raises InvalidInput for anything else."""
    try:
        padded = text.encode() + b"=" * (-len(text) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, UnicodeError):
        raise InvalidInput("not a cursor of this listing", "$.cursor") from None


def opaque(cursor: str) -> str | None:
    """The engine's cursor for the outside; None at the end."""
    return base64.urlsafe_b64encode(cursor.encode()).decode().rstrip("=") if cursor else None


async def page_of(
    fetch: Callable[[str], Awaitable[Page[T]]], cursor: str, view: Callable[[T], V]
) -> PageView[V]:
    """One page, seen through `view`, from where the opaque `cursor` points."""
    inner = cursor_of(cursor)
    try:
        page = await fetch(inner)
    except ValueError:
        if not inner:
            raise
        raise InvalidInput("not a cursor of this listing", "$.cursor") from None
    return PageView(tuple(map(view, page.items)), opaque(page.cursor))


class PageQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the query strings of listings."""

    cursor: str = ""
    limit: int = LIMIT_DEFAULT


def checked_limit(query: PageQuery, at_most: int) -> int:
    """The page's size. Raises InvalidInput outside 1 to `at_most`."""
    if not 1 <= query.limit <= at_most:
        raise InvalidInput(f"must be from 1 to {at_most}", "$.limit")
    return query.limit
