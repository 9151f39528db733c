"""An issue as Markdown, and that Markdown as e-mail: HTML with its styles inline, and plain text.

Facts stand where the template puts them; what a model wrote is text, never markup. The HTML is made
of the Markdown alone, so that an editor may change that and make it anew.
"""

import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

import css_inline
import mistune
import nh3
from selectolax.lexbor import LexborHTMLParser

from processors.govejle.calendars import day_text
from processors.govejle.issue import Issue, Item, Section

HTML_MAX_BYTES = 102_000  # Gmail clips what is longer
SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")
LEADING = re.compile(r"^(\d+)([.)])|^([-+=])")
TAGS = {"h1", "h2", "h3", "p", "a", "strong", "em", "img", "hr", "ul", "ol", "li", "br"}
ATTRIBUTES = {"a": {"href"}, "img": {"src", "alt"}}
SCHEMES = {"http", "https", "mailto"}
FOOTERS = {
    "da": "Fakta kommer fra arrangørernes egne sider. Tjek siden, før du tager af sted.",
    "en": "Facts come from the organisers' own pages. Check the page before you set out.",
    "de": "Die Angaben stammen von den Seiten der Veranstalter. Bitte vor dem Besuch prüfen.",
}


def markdown_of(issue: Issue) -> str:
    """The issue as Markdown: the form that counts."""
    blocks = [f"# {plain(issue.subject)}", plain(issue.lead)]
    for section in issue.sections:
        blocks += section_blocks(section)
    return "\n\n".join(block for block in blocks if block) + "\n"


def section_blocks(section: Section) -> list[str]:
    """Heading, introduction and events of a section."""
    blocks = [f"## {plain(section.heading)}", plain(section.intro)]
    for item, hook in zip(section.items, section.hooks, strict=True):
        blocks += item_blocks(item, hook)
    return blocks


def item_blocks(item: Item, hook: str) -> list[str]:
    """Title with link, facts, picture, and the texts."""
    when, _, rest = item.facts.partition(" · ")
    facts = f"**{plain(when)}**" + (f" · {plain(rest)}" if rest else "")
    picture = f"![{plain(item.title)}](<{item.image_url}>)" if item.image_url else ""
    return [
        f"### [{plain(item.title)}](<{item.url}>)",
        facts,
        picture,
        f"*{plain(hook)}*" if hook else "",
        plain(item.summary),
    ]


def html_of(markdown: str, issue: Issue) -> str:
    """The Markdown as an e-mail that any client shows: one table, styles inline, nothing hidden."""
    body = nh3.clean(
        str(_to_html(markdown)),
        tags=TAGS,
        attributes=ATTRIBUTES,
        url_schemes=SCHEMES,
        link_rel=None,
    )
    page = template().format(
        language=issue.language,
        subject=escape(issue.subject),
        preheader=escape(issue.preheader),
        day=escape(f"{day_text(issue.issue_date, issue.language)} {issue.issue_date:%Y}"),
        body=cards(body),
        footer=escape(FOOTERS[issue.language]),
    )
    return css_inline.inline(page, keep_at_rules=True, load_remote_stylesheets=False)


def cards(body: str) -> str:
    """Each event in a box of its own: from its heading to the next one."""
    parts = re.split(r"(?=<h[23]>)", body)
    boxed = (f'<div class="event">{p}</div>' if p.startswith("<h3>") else p for p in parts)
    return "".join(boxed)


def text_of(markdown: str) -> str:
    """The Markdown as plain text: titles underlined, each link on a line of its own."""
    tokens = _to_tokens(markdown)
    assert not isinstance(tokens, str)  # without a renderer mistune gives its tokens
    return "\n\n".join(block for token in tokens if (block := _block(token))) + "\n"


def links_of(html: str) -> set[str]:
    """Every address that the HTML leads to."""
    tree = LexborHTMLParser(html)
    return {node.attributes.get("href") or "" for node in tree.css("a")}


def plain(text: str) -> str:
    """`text` on one line, in which nothing is Markdown."""
    line = SPECIAL.sub(r"\\\1", " ".join(text.split()))
    return LEADING.sub(lambda m: f"{m[1]}\\{m[2]}" if m[1] else f"\\{m[3]}", line)


def template() -> str:
    """The page around the body."""
    return (files("processors.govejle") / "mail.html").read_text("utf-8")


_to_html = mistune.create_markdown(escape=True)
_to_tokens = mistune.create_markdown(renderer=None)


def _block(token: Mapping[str, Any]) -> str:
    if token["type"] == "heading":
        level = token["attrs"]["level"]
        text = _inline(token["children"])
        title, _, link = text.partition("\n")
        if level < 3:
            return f"{title}\n{('=', '-')[level - 1] * len(title)}"
        return f"* {title}" + (f"\n  {link}" if link else "")
    return _inline(token.get("children", ())).strip()


def _inline(tokens: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for token in tokens:
        if token["type"] == "link":
            parts.append(f"{_inline(token['children'])}\n{token['attrs']['url']}")
        elif token["type"] == "image":
            continue
        elif "children" in token:
            parts.append(_inline(token["children"]))
        else:
            parts.append(str(token.get("raw", " ")))
    return "".join(parts)
