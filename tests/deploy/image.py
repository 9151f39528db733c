"""The Dockerfile as a shell script, so that its steps can be run where there is no Docker.

Knows what ours uses: FROM, ARG, ENV, WORKDIR, RUN, COPY, USER, and names whatever else stands
there. A stage begins in the same files, so that `COPY --from` has nothing to do.
"""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

CONTEXT = "/given/repo"
SILENT = {"FROM", "ARG", "EXPOSE", "STOPSIGNAL"}


class Step(NamedTuple):
    """One instruction, its lines joined."""

    word: str
    rest: str


class Image(NamedTuple):
    """What a container gets: how to build it, and how it runs."""

    build: list[str]  # lines of bash
    environment: dict[str, str]
    user: str
    entrypoint: list[str]
    command: list[str]
    health: list[str]


def steps(text: str) -> Iterator[Step]:
    """The instructions of a Dockerfile."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    for line in filter(str.strip, joined.splitlines()):
        word, _, rest = line.strip().partition(" ")
        yield Step(word, rest.strip())


def read(path: Path) -> Image:
    """What the Dockerfile builds. Raises ValueError for an instruction that is not known here."""
    build: list[str] = []
    environment: dict[str, str] = {}
    user, entrypoint, command, health = "", [""], [""], [""]
    for word, rest in steps(path.read_text("utf-8")):
        match word:
            case "FROM":
                environment = {}
            case "RUN":
                build.append(rest)
            case "WORKDIR":
                build.append(f"mkdir -p {rest}; cd {rest}")
            case "ENV":
                given = dict(pair.split("=", 1) for pair in shlex.split(rest))
                environment |= given
                build += [f'export {name}="{value}"' for name, value in given.items()]
            case "COPY" if "--from=" not in rest:
                *sources, target = rest.split()
                build += [_copy(source, target) for source in sources]
            case "USER":
                user = rest
            case "ENTRYPOINT":
                entrypoint = json.loads(rest)
            case "CMD":
                command = json.loads(rest)
            case "HEALTHCHECK":
                health = json.loads(rest.partition("CMD ")[2])
            case _ if word not in SILENT and not rest.startswith("--from="):
                raise ValueError(f"{word} {rest}")
    return Image(build, environment, user, entrypoint, command, health)


def _copy(source: str, target: str) -> str:
    """As Docker: a folder's contents, without what is ignored."""
    whole = f"{CONTEXT}/{source}"
    onto = f"{target.rstrip('/')}/{Path(source).name}" if target.endswith("/") else target
    return f"mkdir -p $(dirname {onto}); cp -r {whole} {onto}"
