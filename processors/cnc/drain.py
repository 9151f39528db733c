"""Templates of messages by a tree of fixed depth: Drain (He et al., ICWS 2017), in one pass.

Messages of as many words and the same first ones meet in a leaf; there a message joins the template
that it has most words in common with, and words that differ become `<*>`.
"""

from collections.abc import Iterable

WILD = "<*>"
PREFIX = 2  # words that lead to a leaf
SIMILAR = 0.7  # share of words in common from which on it is the same template
CHILDREN_MAX = 100  # different words at one place of the tree; further ones share a branch

Words = tuple[str, ...]
Leaf = list[Words]


class Drain:
    """The tree."""

    def __init__(self) -> None:
        self._leaves: dict[Words, Leaf] = {}
        self._known: dict[tuple[int, int], set[str]] = {}

    def add(self, message: str) -> None:
        """Let the templates take in a masked message."""
        words = tuple(message.split())
        leaf = self._leaves.setdefault(self._path(words, learn=True), [])
        place = best(leaf, words)
        if place is None:
            leaf.append(words)
        else:
            leaf[place] = merged(leaf[place], words)

    def template(self, message: str) -> str:
        """The template of a message that was added."""
        words = tuple(message.split())
        leaf = self._leaves.get(self._path(words, learn=False), [])
        place = best(leaf, words)
        return " ".join(words if place is None else leaf[place])

    def _path(self, words: Words, *, learn: bool) -> Words:
        """The number of words, then the first of them."""
        path = [str(len(words))]
        for at, word in enumerate(words[:PREFIX]):
            known = self._known.setdefault((len(words), at), set())
            if learn and len(known) < CHILDREN_MAX:
                known.add(word)
            path.append(word if word in known and not word.startswith("<") else WILD)
        return tuple(path)


def best(leaf: Leaf, words: Words) -> int | None:
    """The place of the template that is most like these words, None where none is enough."""
    scored = [(similarity(template, words), -at) for at, template in enumerate(leaf)]
    score, place = max(scored, default=(0.0, 0))
    return -place if score >= SIMILAR else None


def similarity(template: Words, words: Words) -> float:
    """The share of places at which both have one word; a wildcard is half of one."""
    if not words:
        return 1.0
    same = sum(
        1.0 if one == other else 0.5 if one == WILD else 0.0
        for one, other in zip(template, words, strict=True)
    )
    return same / len(words)


def merged(template: Words, words: Words) -> Words:
    """The template of both."""
    return tuple(one if one == other else WILD for one, other in zip(template, words, strict=True))


def templates(messages: Iterable[str]) -> dict[str, str]:
    """The template of each masked message; the order in which they come makes no difference."""
    tree = Drain()
    distinct = sorted(set(messages))
    for message in distinct:
        tree.add(message)
    return {message: tree.template(message) for message in distinct}
