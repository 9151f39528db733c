"""Masks what differs between two errors of one kind: numbers, ids, paths, quoted parts."""

import re

from processors.cnc.secrecy import concealed

MESSAGE_MAX, TEMPLATE_MAX = 4_000, 500
QUOTED = re.compile(
    r"\"[^\"\n]{0,300}\"|(?<!\w)'[^'\n]{0,300}'(?!\w)|`[^`\n]{0,300}`|«[^»\n]{0,300}»|“[^”\n]{0,300}”"
)
MASKS = (
    (QUOTED, "<str>"),
    (re.compile(r"\b[a-z][a-z0-9+.-]{0,20}://(?:<\w+>|[^\s\"'<>)\]])+", re.IGNORECASE), "<url>"),
    (re.compile(r"<(?:secret|email|card|cpr)>"), "<id>"),
    (
        re.compile(
            r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)?"
        ),
        "<time>",
    ),
    (re.compile(r"\b\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?\b"), "<time>"),
    (re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"), "<ip>"),
    (re.compile(r"(?<![\w:])(?:[0-9a-f]{0,4}:){3,7}[0-9a-f]{0,4}(?![\w:])", re.IGNORECASE), "<ip>"),
    (re.compile(r"(?<![\w>/])(?:[A-Za-z]:)?(?:[\\/][\w.@+~-]+){2,}[\\/]?"), "<path>"),
    (re.compile(r"\b0x[0-9a-f]+\b", re.IGNORECASE), "<hex>"),
)
WORD = re.compile(r"(?<![\w<.-])[\w.-]*\d(?:[\w.-]|,(?=\d))*%?(?![\w>])")
NUMBER = re.compile(r"-?\d+(?:[.,]\d+)*(?:ms|us|ns|s|m|h|d|b|kb|mb|gb|kib|mib|gib|%)?\.?", re.I)
CODE = re.compile(r"[A-Z]{1,6}-?\d{3,6}")  # of an error: ORA-00942, E11000, P2002
NAMED = frozenset(
    {
        *("utf8", "utf-8", "utf16", "latin1", "http2", "http3", "h2", "ipv4", "ipv6", "oauth2"),
        *("sha1", "sha256", "sha512", "md5", "base64", "i18n", "k8s", "s3", "ec2", "x86", "x64"),
        *("p50", "p90", "p95", "p99", "int32", "int64", "float32", "float64", "uint8", "log4j"),
        "python3",
    }
)
SPACE = re.compile(r"\s+")


def masked(message: str) -> str:
    """The template of a message: the same for messages that differ only in what is masked.

    Masking a template again changes nothing.
    """
    text = concealed(message[:MESSAGE_MAX])
    for pattern, mask in MASKS:
        text = pattern.sub(mask, text)
    text = WORD.sub(lambda match: word(match[0]), text)
    return SPACE.sub(" ", text).strip()[:TEMPLATE_MAX].rstrip()


def word(text: str) -> str:
    """What stands for a word that holds a digit."""
    bare = text.rstrip(".-")
    tail = text[len(bare) :]
    if bare.lower() in NAMED or CODE.fullmatch(bare):
        return text
    return ("<num>" if NUMBER.fullmatch(bare) else "<id>") + tail
