"""Takes secrets and persons out of text before a model reads it, or a log keeps it.

A secret that stays is worse than a word too many that goes: what looks like a key is taken out.
"""

import re
from collections.abc import Mapping

SECRET, EMAIL, CARD, CPR = "<secret>", "<email>", "<card>", "<cpr>"
NAMES = (
    r"pass(?:word|wd|phrase)?|pwd|secret|token|api[_-]?key|apikey|access[_-]?key|private[_-]?key|"
    r"client[_-]?secret|auth(?:orization|[_-]?token)?|signature|sig|credentials?|session[_-]?id|"
    r"sessionid|csrf|cookie|set-cookie|x-api-key|adgangskode|kodeord"
)
SECRET_NAME = re.compile(rf"(?i)(?:^|[_.\-\s])(?:\w+[_-])?(?:{NAMES})$")
PEM = re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\Z)", re.DOTALL)
SCHEME = re.compile(r"(?i)\b(bearer|basic|digest|negotiate)(\s+|%20|\+)[^\s\"',;<>]{4,}")
USER_INFO = re.compile(r"(\b[A-Za-z][\w+.-]{0,20}://)[^\s/@\"'<>]+@")
JWT = re.compile(r"\beyJ[\w-]{6,}(?:\.[\w-]+){0,2}")
HEADER = re.compile(
    r"(?im)\b((?:proxy-)?authorization|(?:set-)?cookie|x-api-key)(\"?'?\s*[:=]\s*)[^\r\n\"']+"
)
NAMED = re.compile(
    rf"(?i)\b((?:\w+[_-])?(?:{NAMES}))(\"?'?\s*(?:=>|[:=])\s*)"
    r"(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[^\s,;&)}\]\"'<>]+)"
)
SAID = re.compile(rf"(?i)\b((?:{NAMES})\s+(?:is|was|er|var)\s+)\S+")
KNOWN = re.compile(
    r"\b(?:sk|pk|rk)[-_](?:live|test|proj|ant)?[-_]?[A-Za-z0-9_-]{12,}"
    r"|\bgh[pousr]_[A-Za-z0-9]{16,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{16,}|\bnpm_\w{20,}|\bhf_\w{20,}"
    r"|\bxox[abeoprs]-[\w-]{10,}|\bA(?:KIA|SIA)[A-Z0-9]{16}\b|\bAIza[\w-]{30,}|\bSG\.[\w-]{16,}\.[\w-]+"
    r"|\brn_[0-9a-z]+_[\w-]{16,}|\bwhs[ek][a-z]*_[A-Za-z0-9+/=_-]{8,}"
)
RANDOM = re.compile(r"(?<![\w/.])[A-Za-z0-9_+/=-]{24,}")
EMAILS = re.compile(r"[\w.+-]{1,64}(?:@|%40)[\w-]{1,63}(?:\.[\w-]{1,63})+")
CARDS = re.compile(r"(?<![\w-])(?:\d[ -]?){12,18}\d(?![\w-])")  # not a part of a UUID
CPRS = re.compile(r"(?<![\w-])[0-3]\d[01]\d{3}-\d{4}(?![\w-])")


def concealed(text: str) -> str:
    """`text` without keys, tokens, passwords, e-mail addresses, card and CPR numbers."""
    text = PEM.sub(SECRET, text)
    text = HEADER.sub(rf"\1\2{SECRET}", text)
    text = SCHEME.sub(rf"\1 {SECRET}", text)
    text = USER_INFO.sub(rf"\1{SECRET}@", text)
    text = JWT.sub(SECRET, text)
    text = KNOWN.sub(SECRET, text)
    text = NAMED.sub(rf"\1\2{SECRET}", text)
    text = SAID.sub(rf"\1{SECRET}", text)
    text = EMAILS.sub(EMAIL, text)
    text = CPRS.sub(CPR, text)
    text = CARDS.sub(lambda match: CARD if is_card(match[0]) else match[0], text)
    return RANDOM.sub(lambda match: SECRET if is_random(match[0]) else match[0], text)


def concealed_fields(fields: Mapping[str, object]) -> dict[str, str]:
    """The same for fields: a value whose name is that of a secret is not shown at all."""
    return {
        concealed(name): SECRET if SECRET_NAME.search(name) else concealed(str(value))
        for name, value in fields.items()
    }


def is_random(text: str) -> bool:
    """Whether a long word looks made by a machine: capitals, small letters and digits mixed."""
    digits = sum(one.isdigit() for one in text)
    return digits >= 3 and any(map(str.isupper, text)) and any(map(str.islower, text))


def is_card(text: str) -> bool:
    """Whether the digits pass the check of card numbers (Luhn)."""
    digits = [int(one) for one in text if one.isdigit()]
    doubled = (two if at % 2 else one for at, one in enumerate(reversed(digits)) for two in [one])
    total = 0
    for at, digit in enumerate(doubled):
        value = digit * 2 if at % 2 else digit
        total += value - 9 if value > 9 else value
    return len(digits) >= 13 and len(set(digits)) > 1 and total % 10 == 0
