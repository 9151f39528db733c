"""An HTML page taken apart: markup for machines, and the lines that a visitor reads."""

import html
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

import msgspec
from selectolax.lexbor import LexborHTMLParser, LexborNode

INLINE = frozenset(
    [
        "a",
        "abbr",
        "b",
        "bdi",
        "cite",
        "code",
        "data",
        "em",
        "font",
        "i",
        "label",
        "mark",
        "q",
        "s",
        "small",
        "span",
        "strong",
        "sub",
        "sup",
        "time",
        "u",
    ]
)
NO_TEXT = ["script", "style", "noscript", "template", "form", "svg", "iframe", "button", "select"]
AROUND = ["nav", "footer", "header", "aside", "dialog"]
HIDDEN = '[hidden], [aria-hidden="true"], [style*="display:none"], [style*="display: none"]'
MAIN = ("main", "article", '[role="main"]', "body")
LINES_MAX, LINE_MAX = 2_000, 2_000
BLOCKS_MAX = 50  # JSON-LD blocks of one page
INLINE_DEPTH_MAX = 50
TRACKING = re.compile(r"utm_\w+|fbclid|gclid|mc_[ce]id|_ga|ref")


class Page(msgspec.Struct, frozen=True):
    """What extraction looks at."""

    url: str
    canonical_url: str
    documents: tuple[Any, ...]  # JSON-LD, decoded
    metas: Mapping[str, str]  # by property or name, lower case, the first of each
    title: str  # the `<title>`
    heading: str  # the first `<h1>`
    lines: tuple[str, ...]  # of the main part, without navigation and hidden elements
    visible_html: str  # without hidden elements and scripts
    warnings: tuple[str, ...]


def parse_page(text: str, url: str) -> Page:
    """Take a page apart. Never raises for what the page holds."""
    tree = LexborHTMLParser(text)
    documents, warnings = json_ld(tree)
    metas = meta_tags(tree)
    title = first_text(tree, "title")
    canonical = canonical_url(tree, metas, url)
    for node in tree.css(HIDDEN):
        if node.tag not in ("html", "body"):
            node.decompose()
    heading = first_text(tree, "main h1, article h1") or first_text(tree, "h1")
    tree.strip_tags(NO_TEXT, recursive=True)
    visible = tree.html or ""
    tree.strip_tags(AROUND, recursive=True)
    lines = lines_of(tree)
    return Page(url, canonical, documents, metas, title, heading, lines, visible, warnings)


def json_ld(tree: LexborHTMLParser) -> tuple[tuple[Any, ...], tuple[str, ...]]:
    """The page's JSON-LD documents, and a warning for each that is broken."""
    documents, warnings = [], []
    for node in tree.css('script[type^="application/ld+json"]')[:BLOCKS_MAX]:
        source = re.sub(r"^\s*(?:<!--|//\s*<!\[CDATA\[)|(?:-->|//\s*\]\]>)\s*$", "", node.text())
        try:
            documents.append(json.loads(source, strict=False))  # raw line ends are common
        except (ValueError, RecursionError) as error:
            warnings.append(f"a JSON-LD block is broken: {str(error)[:120]}")
    return tuple(documents), tuple(warnings)


def meta_tags(tree: LexborHTMLParser) -> dict[str, str]:
    """`<meta>` contents by property or name."""
    metas: dict[str, str] = {}
    for node in tree.css("meta[content]"):
        name = node.attributes.get("property") or node.attributes.get("name")
        content = clean(node.attributes.get("content") or "")
        if name and content:
            metas.setdefault(name.strip().lower(), content)
    return metas


def first_text(tree: LexborHTMLParser, selector: str) -> str:
    """The text of the first match, as one line."""
    node = tree.css_first(selector)
    return clean(node.text(separator=" ")) if node is not None else ""


def lines_of(tree: LexborHTMLParser) -> tuple[str, ...]:
    """What stands in the main part, a line for each block."""
    root = next((node for name in MAIN if (node := tree.css_first(name)) is not None), None)
    if root is None:
        return ()
    lines: list[str] = []
    parts: list[str] = []
    block = 0
    for node in root.traverse(include_text=True):
        if node.tag == "br":
            parts.append("\n")
        if node.tag != "-text":
            continue
        if (owner := block_of(node)) != block:
            parts.append("\n")
            block = owner
        parts.append(re.sub(r"\s+", " ", node.text(deep=False)))
    for line in "".join(parts).split("\n"):
        if tidy := clean(line):
            lines.append(tidy)
    return tuple(lines[:LINES_MAX])


def block_of(node: LexborNode) -> int:
    """The identity of the nearest element that is not inline."""
    parent = node.parent
    for _ in range(INLINE_DEPTH_MAX):
        if parent is None or parent.tag not in INLINE:
            break
        parent = parent.parent
    return parent.mem_id if parent is not None else 0


def canonical_url(tree: LexborHTMLParser, metas: Mapping[str, str], url: str) -> str:
    """The page's own name for itself, without tracking parameters.

    A page's word counts for its own host only; one that calls the front page its canonical form
    says nothing.
    """
    node = tree.css_first('link[rel~="canonical"][href]')
    named = (node.attributes.get("href") if node is not None else None) or metas.get("og:url")
    absolute = web_url(named or "", url)
    if absolute is not None and _is_same_page_family(absolute, url):
        return without_tracking(absolute)
    return without_tracking(url)


def web_url(text: str, base: str) -> str | None:
    """`text` as an absolute http or https URL, or None."""
    try:
        absolute = urljoin(base, text.strip())
        parts = urlsplit(absolute)
        port_is_sane = parts.port is None or parts.port > 0
    except ValueError:
        return None
    return absolute if text and port_is_sane and parts.scheme in ("http", "https") else None


def without_tracking(url: str) -> str:
    """`url` without fragment and tracking parameters."""
    parts = urlsplit(url)
    query = [
        (name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if not TRACKING.fullmatch(name)
    ]
    return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(query), ""))


def clean(text: str) -> str:
    """One line: entities resolved, control characters and doubled spaces gone, not over-long."""
    plain = html.unescape(text).replace("\xad", "")
    plain = "".join(c if c.isprintable() else " " for c in plain)
    return " ".join(plain.split())[:LINE_MAX]


def _is_same_page_family(named: str, url: str) -> bool:
    theirs, ours = urlsplit(named), urlsplit(url)
    hosts = {(part.hostname or "").removeprefix("www.") for part in (theirs, ours)}
    return len(hosts) == 1 and (theirs.path not in ("", "/") or ours.path in ("", "/"))
