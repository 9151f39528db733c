"""What must not be read by others, taken out of text: logs, problem documents, the audit log."""

import re

HIDDEN = "(hidden)"
_NAMED = (
    r"(?:access_|refresh_|auth_|api_?|bot_)?(?:token|key|secret|signature|sig|password|passwd|pwd)"
)
# Each with texts of which one is in whatever it matches, in lower case: to look for these is quick.
PATTERNS = (
    (  # API keys
        ("rn_",),
        re.compile(r"(?<![A-Za-z0-9])(rn_[0-9a-z]+_)[A-Za-z0-9_-]{16,}"),
        rf"\1{HIDDEN}",
    ),
    (
        ("whse", "whsk"),
        re.compile(r"(?<![A-Za-z0-9])(whs[ek][a-z]*_)[A-Za-z0-9+/=_-]{8,}"),
        rf"\1{HIDDEN}",
    ),
    (
        ("bearer", "basic"),
        re.compile(r"(?i)\b(bearer|basic)(\s+|%20|\+)[A-Za-z0-9+/=._~-]{8,}"),
        rf"\1\2{HIDDEN}",
    ),
    (  # passwords in URLs
        ("://",),
        re.compile(r"(\w+://[^\s:/@\"']*):[^\s/@\"']+@"),
        rf"\1:{HIDDEN}@",
    ),
    (  # tokens in queries
        ("=",),
        re.compile(rf"(?i)([?&;]{_NAMED}=)[^&;#\s\"'<>]+"),
        rf"\1{HIDDEN}",
    ),
)
LEAST = 6  # characters of a known secret: what is shorter is too likely to be an ordinary word

_known: set[str] = set()


def hide(*secrets: str) -> None:
    """Take these very texts out of everything from now on; short ones are not."""
    _known.update(secret for secret in secrets if len(secret) >= LEAST)


def redact(text: str) -> str:
    """`text` without API keys, callback secrets, credentials of headers and URLs, known secrets."""
    for secret in _known:
        text = text.replace(secret, HIDDEN)
    lower = text.lower() if text.isascii() else ""  # other letters have cases of their own
    for signs, pattern, replacement in PATTERNS:
        if not lower or any(sign in lower for sign in signs):
            text = pattern.sub(replacement, text)
    return text
