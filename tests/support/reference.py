"""Reference pages made from the source: the keyspace with its scripts, error codes."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterable, Iterator

import gateway
import processors
from gateway.problems import STATUSES
from streams import keyspace
from streams.errors import Trouble
from streams.scripts import parse_header, read_sources

KEYSPACE_HEAD = """\
# Keyspace

Every key in Redis, and the scripts and libraries whose header declares it. All keys share one hash
tag (`engine.tag`), so that a script may touch several of them. A key is permanent by design or has
a lifetime. The words are those of the [glossary](glossary.md).
"""

SCRIPTS_HEAD = """\
## Scripts

Each change of state is one of these files in `streams/lua/`. Keys and settings are bound into a
script when it is loaded ([decision 3](decisions/0003-bound-scripts.md)); a call carries the
arguments. What several scripts share stands once in `lua/lib/`.
"""

ERRORS_HEAD = """\
# Error codes

Public and stable: the same in the API's problem documents, in logs and in dead letters. Branch on
the code, never on the text.
"""

PLATFORM_ERRORS = """\
## The platform

The status is the one that the gateway answers.
"""

GATEWAY_ERRORS = """\
## The gateway alone
"""

ATTEMPT_ERRORS = """\
## Attempts

What else stands in the `error` of a job. Whether a failure is tried again is told in
[processors](processors.md#how-an-attempt-ends).
"""

# What no class of error stands for: scripts write it, or the judge of an attempt does.
WRITTEN_CODES = {
    "duplicate_of": "Another job had the idempotency key; it came to light after the acceptance.",
    "refused": "Redis refused the job after it had been accepted; the message tells why.",
    "kept": "The journal keeps the job and will not send it; the message tells why.",
    "cancelled": "Somebody cancelled the job; the message is their reason.",
    "expired": "The job did not start before its `expires_at`.",
    "processor_failed": "The processor raised an error of its own; the message tells its type.",
}


def keyspace_page() -> str:
    """docs/keyspace.md."""
    declared = declarations()
    rows = ["| key | type | lifetime | what | declared by |", "| --- | --- | --- | --- | --- |"]
    for name, kind, life, what in keyspace_rows():
        users = codes(declared.get(name, ())) or "no script: plain commands"
        rows.append(f"| `{pattern(name)}` | {kind} | {life} | {cell(what)} | {users} |")
    return "\n".join([KEYSPACE_HEAD, "\n".join([*rows, ""]), SCRIPTS_HEAD, scripts_table()])


def keyspace_rows() -> Iterator[tuple[str, str, str, str]]:
    """Name, type, lifetime and meaning of each key, from the module's docstring."""
    lines = (inspect.getdoc(keyspace) or "").splitlines()
    start = next(i for i, line in enumerate(lines) if line.split()[:2] == ["name", "type"])
    for line in lines[start + 1 :]:
        name, kind, life, what = re.split(r"  +", line.strip(), maxsplit=3)
        yield name, kind, life, what


def pattern(name: str) -> str:
    """How a key of that name is spelt; `…` is what a script or a caller appends."""
    suffix = "…" if name in keyspace.PREFIXES else ""
    return keyspace.Keyspace().key(name, suffix)


def declarations() -> dict[str, list[str]]:
    """Which scripts and libraries name each key in their header."""
    found: dict[str, list[str]] = {}
    for name, text in sorted(read_sources().items()):
        for key in parse_header(text).keys:
            found.setdefault(key, []).append(name)
    return found


def scripts_table() -> str:
    """Name, purpose, libraries, arguments and answer of every script, from its header."""
    rows = ["| script | what it does | uses | arguments | answers |"]
    rows.append("| --- | --- | --- | --- | --- |")
    for name, text in sorted(read_sources().items()):
        if name.startswith("lib/"):
            continue
        header = parse_header(text)
        told = cell(sentence(text, f"{name}: ")), codes(header.uses), codes(header.argv)
        rows.append(f"| `{name}` | {' | '.join(told)} | {cell(sentence(text, 'Returns '))} |")
    return "\n".join([*rows, ""])


def sentence(text: str, start: str) -> str:
    """What the comment at the top of a script says behind `start`, up to a stop."""
    comment = [line[2:].strip() for line in text.splitlines() if line.startswith("--")]
    found = next(i for i, line in enumerate(comment) if line.startswith(start))
    paragraph = [comment[found].removeprefix(start)]
    for line in comment[found + 1 :]:
        if not line or line.startswith(("uses ", "KEYS ", "SETS ", "ARGV ")):
            break
        paragraph.append(line)
    return re.split(r"\.(?:\s|$)|;\s", " ".join(paragraph))[0]


def errors_page() -> str:
    """docs/errors.md."""
    import_all()
    platform = [error for error in tree(Trouble) if error.__module__ == Trouble.__module__]
    platform.remove(Trouble)
    edge = [error for error in added("gateway.problems") if error.code in STATUSES]
    attempts = {error.code: first_line(error) for error in added("processors")} | WRITTEN_CODES
    parts = [ERRORS_HEAD, PLATFORM_ERRORS, errors_table(platform), GATEWAY_ERRORS]
    parts += [errors_table(edge), ATTEMPT_ERRORS, "| code | what happened |\n| --- | --- |"]
    parts[-1] += "".join(f"\n| `{code}` | {what} |" for code, what in sorted(attempts.items()))
    return "\n".join([*parts, ""])


def errors_table(errors: Iterable[type[Trouble]]) -> str:
    """Code, status and meaning of each error."""
    rows = ["| code | status | what happened |", "| --- | --- | --- |"]
    for error in errors:
        rows.append(f"| `{error.code}` | {STATUSES[error.code][0]} | {first_line(error)} |")
    return "\n".join([*rows, ""])


def added(package: str) -> list[type[Trouble]]:
    """Errors of that package with a code of their own, in alphabetical order."""
    inherited = {error.code for error in tree(Trouble) if error.__module__ == Trouble.__module__}
    found = {
        error.code: error
        for error in tree(Trouble)
        if error.__module__.startswith(package) and error.code not in inherited
    }
    return [found[code] for code in sorted(found)]


def import_all() -> None:
    """Import the packages that define errors, so that the tree is whole whoever asks."""
    for package in (processors, gateway):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


def tree(error: type[Trouble]) -> Iterator[type[Trouble]]:
    """An error class and all below it."""
    yield error
    for child in error.__subclasses__():
        yield from tree(child)


def first_line(error: type[Trouble]) -> str:
    """The first line of an error's docstring."""
    return (inspect.getdoc(error) or "").splitlines()[0]


def cell(text: str) -> str:
    """Text as it may stand in a table."""
    return text.replace("|", "\\|")


def codes(names: Iterable[str]) -> str:
    """Names as they stand in a table."""
    return ", ".join(f"`{name}`" for name in names)
