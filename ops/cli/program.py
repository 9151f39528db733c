"""The program: its options, its commands by section, and the exit code of every ending.

Exit codes: 0 ok, 1 the job failed, 2 usage or settings, 3 unreachable, 4 timed out.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from gateway.redaction import redact
from ops.cli.session import GaveUpWaiting, JobFailed, Session
from ops.settings import VERSION
from streams.errors import InvalidInput, Trouble, Unavailable

JOB_FAILED, USAGE, UNREACHABLE, TIMED_OUT, INTERRUPTED = 1, 2, 3, 4, 130

# Section → command → (where it is, what it does). A module is imported when its command runs.
SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Run the platform": {
        "up": ("running:up", "Redis, gateway and worker of one machine, in one go."),
        "demo": (
            "ops.demo.__main__:demo",
            "The whole platform at work; a worker is killed on the way.",
        ),
        "gateway": ("running:gateway", "The HTTP gateway, with the courier of callbacks."),
        "worker": ("running:worker", "A worker that runs jobs."),
        "courier": ("running:courier", "The courier of callbacks alone."),
        "sim-ollama": ("running:sim_ollama", "A simulated Ollama, for machines without a GPU."),
        "bench": ("ops.bench.__main__:bench", "Measure jobs per second, latency and memory."),
    },
    "Work with jobs": {
        "ask": ("ask:ask", "Ask the local model; the answer appears as it is made."),
        "submit": ("work:submit", "Submit a job, and wait for it if you like."),
        "wait": ("work:wait", "Wait until a job has ended."),
        "status": ("status:status", "Where a job stands, or everything on one screen."),
        "jobs": ("jobs:jobs", "List, show, explain, change, cancel and retry jobs."),
        "flows": ("flows:flows", "Flows: submit, show as they move, stop, run again what failed."),
        "dead": ("dead:dead", "Dead letters: list, replay and purge them."),
    },
    "Operate": {
        "top": ("top:top", "Watch everything: lanes, jobs, workers, flows, dead letters, models."),
        "classes": ("classes:classes", "Resource classes: lanes, pause, resume, limits."),
        "workers": ("registry:workers", "The workers that live."),
        "processors": ("registry:processors", "Processors: try, begin, list them."),
        "models": (
            "models:models",
            "Models: hosts, what is in memory, who waits, speed.",
        ),
        "usage": ("usage:usage", "What models were used for: tokens, seconds, loads."),
        "agents": ("agents:agents", "What watches the events of jobs, and what it told."),
        "schedules": ("schedules:schedules", "Jobs by cron line or interval."),
        "shadow": ("shadow:shadow", "Jobs that were also run by another processor."),
        "endpoints": ("endpoints:endpoints", "Where apps may be called back."),
        "callbacks": ("callbacks:callbacks", "Callbacks: list, show and replay them."),
        "journal": ("journal:journal", "What gateways accepted and Redis may not have."),
        "keys": ("keys:keys", "API keys of apps and operators."),
        "apps": ("apps:apps", "Apps: how much each may ask of the gateways."),
        "audit": ("audit:audit", "The audit log: what operators did."),
        "health": ("health:health", "Whether everything that is needed answers."),
        "link": ("link:link", "WireGuard: whether each peer is there."),
        "doctor": ("doctor:doctor", "Examine the whole deployment, and say what to do."),
        "acl": ("acl:acl", "Users of Redis, one for each role, with passwords of their own."),
        "settings": ("health:settings", "Every setting, with secrets hidden."),
        "version": ("health:version", "Print the version."),
    },
}
COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}

EPILOG = """\b
Examples:
  roughneck up                                     start everything on this machine
  roughneck keys create --app web                  a key for an app
  roughneck submit echo '{"message": "hi"}' --wait run a job and print its result
  roughneck jobs list --state dead -o json         for scripts

\b
Completion: eval "$(_ROUGHNECK_COMPLETE=bash_source roughneck)"   (or zsh_source, fish_source)
Exit codes: 0 ok, 1 job failed, 2 usage or settings, 3 unreachable, 4 timed out."""


class Program(click.Group):
    """The commands by section; each is imported only when it is needed."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Every command, in the order of the sections."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command of that name, or None."""
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name][0].partition(":")
        path = module if module.startswith("ops.") else f"ops.cli.{module}"
        found = getattr(import_module(path), attribute)
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """The sections, without importing anything."""
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(name, what) for name, (_, what) in commands.items()])


@click.command(
    cls=Program,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--settings",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Settings file; default: roughneck.toml here, if there is one.",
)
@click.option("--redis", metavar="URL", help="Use this Redis instead of the embedded one.")
@click.option("--data", metavar="FOLDER", help="Folder of the embedded Redis.")
@click.option("--gateway", metavar="URL", help="Submit and wait through this gateway.")
@click.option("--key", metavar="KEY", help="API key for it; better: ROUGHNECK_CLIENT__KEY_FILE.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="What is logged, for commands that keep running.",
)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), help="How to print.")
@click.version_option(VERSION, "-V", "--version", message="%(version)s")
@click.pass_context
def program(
    context: click.Context, /, path: Path | None, output: str | None, **given: str | None
) -> None:
    """One API for the asynchronous work of several small apps that lean on a local LLM."""
    names = {
        "redis": "redis.url",
        "data": "redis.folder",
        "gateway": "client.gateway",
        "key": "client.key",
        "log_level": "log.level",
    }
    session = Session(path, {names[name]: value for name, value in given.items() if value})
    session.screen.output = output or session.screen.output
    context.obj = session


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and leave with its exit code; expected trouble is one line."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the program; the exit code."""
    try:
        # The code of a command that ended with `context.exit`; other commands return nothing.
        code = program.main(args=arguments, prog_name="roughneck", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # what reads us has gone, as `head` does
        return 0
    except Trouble as error:
        return _explained(error)
    return code or 0


def _explained(error: Trouble) -> int:
    where = f" - at `{error.path}`" if isinstance(error, InvalidInput) else ""
    line = Text.assemble(("error: ", "bold red"), redact(str(error)) or error.code, where)
    Console(stderr=True, soft_wrap=True).print(line)
    match error:
        case JobFailed():
            return JOB_FAILED
        case GaveUpWaiting():
            return TIMED_OUT
        case Unavailable():
            return UNREACHABLE
    return USAGE
