"""URLs as they may stand in Markdown, in HTML and in a mail: ASCII, and the same in all three."""

import re
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

import idna

SAFE = "/%:@!$&()*+,;=-._~?"  # what Markdown's renderers leave as it is; the rest is encoded
ENTITY = re.compile(r"(&#?\w+);")  # that Markdown would take for one


def ascii_url(url: str) -> str | None:
    """`url` with an ASCII host and all else percent-encoded; None for what is no web address."""
    try:
        parts = urlsplit(url.strip())
        host = ascii_host(parts)
    except ValueError:  # idna.IDNAError is one
        return None
    if parts.scheme not in ("http", "https") or not host:
        return None
    path, query, fragment = (quote(part, safe=SAFE) for part in parts[2:])
    return ENTITY.sub(r"\1%3B", urlunsplit((parts.scheme, host, path, query, fragment)))


def ascii_host(parts: SplitResult) -> str:
    """Host and port; a user's name before them is left out. Raises ValueError for none."""
    host = parts.hostname or ""
    if not host.isascii():
        host = idna.encode(host, uts46=True).decode()
    if not re.fullmatch(r"[a-z0-9._-]+", host):
        raise ValueError(f"{host!r} is no host")
    return f"{host}:{parts.port}" if parts.port else host
