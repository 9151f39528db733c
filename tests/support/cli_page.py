"""docs/cli.md: every command with its arguments, options and examples, from the program itself."""

import inspect
import re
from collections.abc import Iterator

import click

from ops.cli.program import SECTIONS, program

HEAD = """\
# The command line

`roughneck --help` and `roughneck COMMAND --help` say the same in a terminal. `-o json` prints JSON
for scripts, before the command or after it; a table goes to a terminal in colour, elsewhere plain
and uncut, and `NO_COLOR` is obeyed. `-` reads standard input where a command takes a payload or a
prompt. What is said beside an answer goes to standard error.

| exit code | means |
| --- | --- |
| 0 | it was done |
| 1 | the job, or what was examined, failed |
| 2 | usage or settings are wrong, or what was asked for is not there or not possible |
| 3 | Redis or the gateway cannot be reached |
| 4 | the time to wait was over; the job goes on |
| 130 | Ctrl-C |

Completion of commands, options and what is in Redis, such as ids of jobs, for `bash` (`zsh_source`
and `fish_source` for those):

```sh
eval "$(_ROUGHNECK_COMPLETE=bash_source roughneck)"
```
"""

Leaf = tuple[str, click.Command]


def leaves() -> Iterator[Leaf]:
    """Every command that does something, under its whole name."""
    for name in program.list_commands(click.Context(program)):
        yield from _below(name, _command(name))


def cli_page() -> str:
    """docs/cli.md."""
    parts = [HEAD, "## Before the command\n", _options(program)]
    for section, names in SECTIONS.items():
        parts.append(f"## {section}\n")
        for name in names:
            command = _command(name)
            if isinstance(command, click.Group):
                parts.append(f"{command.help}\n")
            parts += [_described(*leaf) for leaf in _below(name, command)]
    return "\n".join(parts)


def _command(name: str) -> click.Command:
    found = program.get_command(click.Context(program), name)
    assert found is not None
    return found


def _below(name: str, command: click.Command) -> Iterator[Leaf]:
    if not isinstance(command, click.Group):
        yield name, command
        return
    for below in sorted(command.commands):
        yield from _below(f"{name} {below}", command.commands[below])


def _described(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=f"roughneck {name}")
    usage = " ".join((context.command_path, *command.collect_usage_pieces(context)))
    parts = [f"### roughneck {name}\n", f"{_prose(command.help)}\n", f"```text\n{usage}\n```\n"]
    parts.append(_options(command))
    if command.epilog:
        parts.append(_examples(command.epilog))
    return "\n".join(filter(None, parts))


def _options(command: click.Command) -> str:
    context = click.Context(command)
    rows = [
        record
        for one in command.params
        if isinstance(one, click.Option) and "--output" not in one.opts
        if (record := one.get_help_record(context))
    ]
    if not rows:
        return ""
    lines = [f"| `{_cell(option)}` | {_cell(what)} |" for option, what in rows]
    return "\n".join(("| option | what |", "| --- | --- |", *lines, ""))


def _examples(epilog: str) -> str:
    """The lines of the examples, as one copies them."""
    lines = [line[2:] for line in epilog.splitlines() if line.startswith("  ")]
    return "\n".join(("```sh", *lines, "```", ""))


def _prose(text: str | None) -> str:
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(" ".join(one.split()) for one in paragraphs)


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")
