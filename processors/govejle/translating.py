"""Whether a translated segment may stand: what was protected, numbers, length, language."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from processors.govejle.masking import PLACEHOLDER, Kind, Masked
from processors.govejle.segments import TAG_NAME

RATIO_MIN, RATIO_MAX = 0.5, 2.2  # of lengths, placeholders left out
RATIO_FROM = 20  # characters from which the ratio says anything
LEFT_MAX = 0.4  # of the words of the source
LEFT_FROM = 5  # words from which that says anything
WORD = re.compile(r"[^\W\d_]{4,}")
VOID = frozenset({"br", "img", "wbr", "hr", "input"})
DANISH_WORDS = frozenset(
    [
        "og",
        "ikke",
        "det",
        "som",
        "på",
        "til",
        "af",
        "er",
        "med",
        "også",
        "hvor",
        "ved",
        "fra",
        "blev",
    ]
)
LITTLE = re.compile(r"[^\W\d_]+")


def faults_of(source: Masked, translated: str) -> list[str]:
    """What is wrong with a segment; nothing when it may stand."""
    faults = []
    if not translated.strip():
        return ["it is empty"]
    expected, found = _placeholders(source.text), _placeholders(translated)
    if expected != found:
        lost = ", ".join(f"⟦{number}⟧" for number in (expected - found))
        more = ", ".join(f"⟦{number}⟧" for number in (found - expected))
        faults.append(f"placeholders lost: {lost or 'none'}; too many: {more or 'none'}")
    elif tag_tree(source.text, source) != tag_tree(translated, source):
        faults.append("the placeholders of tags are nested in another way")
    if _digits(source.text) != _digits(translated):
        faults.append("its numbers are not those of the source")
    if "<" in translated and "<" not in source.text:
        faults.append("it has markup that the source has not")
    return [*faults, *_language_faults(source.text, translated)]


def tag_tree(text: str, source: Masked) -> Counter[str]:
    """How often each tag of a masked text stands in which other: order does not matter."""
    around: list[str] = [""]
    tree: Counter[str] = Counter()
    for match in PLACEHOLDER.finditer(text):
        number = int(match[1])
        if not 0 < number <= len(source.marks) or source.marks[number - 1].kind is not Kind.TAG:
            continue
        tag = source.marks[number - 1].original
        name = TAG_NAME.match(tag)
        tree[f"{around[-1]} {tag}"] += 1
        if name is None or name[1].lower() in VOID or tag.endswith("/>"):
            continue
        if not tag.startswith("</"):
            around.append(tag)
        elif len(around) > 1:
            around.pop()
    return tree


def _language_faults(source: str, translated: str) -> list[str]:
    before, after = _bare(source), _bare(translated)
    faults = []
    if len(before) >= RATIO_FROM and not RATIO_MIN <= len(after) / len(before) <= RATIO_MAX:
        faults.append(f"{len(before)} characters became {len(after)}")
    words = [word for word in WORD.findall(before) if word.islower()]
    kept = {word.lower() for word in WORD.findall(after)}
    left = [word for word in words if word in kept]
    if len(words) >= LEFT_FROM and len(left) > LEFT_MAX * len(words):
        faults.append(f"words of the source are left: {', '.join(left[:5])}")
    little = [word for word in LITTLE.findall(after.lower()) if word in DANISH_WORDS]
    if len(little) >= 3:
        faults.append(f"it is still Danish: {', '.join(little[:5])}")
    return faults


def in_batches(
    masked: Mapping[str, Masked], ids: Sequence[str], items_max: int, bytes_max: int
) -> list[list[str]]:
    """The ids in batches small enough to be answered whole, in order."""
    batches: list[list[str]] = []
    size = 0
    for one in ids:
        weight = len(masked[one].text.encode())
        if not batches or len(batches[-1]) >= items_max or size + weight > bytes_max:
            batches.append([])
            size = 0
        batches[-1].append(one)
        size += weight
    return batches


def _placeholders(text: str) -> Counter[str]:
    return Counter(PLACEHOLDER.findall(text))


def _digits(text: str) -> Counter[str]:
    return Counter(re.findall(r"\d+", PLACEHOLDER.sub(" ", text)))


def _bare(text: str) -> str:
    return " ".join(PLACEHOLDER.sub(" ", text).split())
