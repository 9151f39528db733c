"""`roughneck agents`: what watches the events of jobs, and what it told lately."""

import click

from ops.cli.screen import Row, age
from ops.cli.session import Session, pass_session
from ops.cli.watching import Watched
from streams.directory import AgentCard, AgentTelling, WorkerCard

LINES_MAX = 20


@click.command(
    cls=Watched,
    epilog="""\b
Examples:
  roughneck agents --watch
  roughneck agents -o json""",
)
@pass_session
def agents(session: Session, /) -> None:
    """The agents of the workers that live, and the newest lines that they told.

    Each worker runs each agent, so a line that several told is shown once.
    """
    found = session.with_engine(lambda engine: engine.directory.workers())
    pairs = [(card, one) for card in found for one in card.agents]
    items = [{"worker": card.id, "agent": one} for card, one in pairs]
    rows = [_agent_row(card, one) for card, one in pairs]
    session.screen.show(items, rows, empty="no agent watches: no worker lives that has one")
    if not session.screen.as_json and (lines := newest([one for _, one in pairs])):
        session.screen.show(lines, [_line_row(name, line) for name, line in lines])


def newest(cards: list[AgentCard]) -> list[tuple[str, AgentTelling]]:
    """The newest lines of all, each once, the newest first."""
    told = {
        (one.name, line.at_ms, line.message, tuple(sorted(line.fields.items()))): (one.name, line)
        for one in cards
        for line in one.told
    }
    return sorted(told.values(), key=lambda pair: -pair[1].at_ms)[:LINES_MAX]


def _agent_row(card: WorkerCard, one: AgentCard) -> Row:
    return {
        "AGENT": one.name,
        "WORKER": card.id,
        "EVENTS": one.events,
        "FAILURES": one.failures,
        "NEWEST": age(one.at_ms),
        "SUMMARY": one.summary,
    }


def _line_row(name: str, line: AgentTelling) -> Row:
    return {
        "TOLD": age(line.at_ms),
        "BY": name,
        "LEVEL": line.level,
        "LINE": line.message,
        "FIELDS": " ".join(f"{key}={value}" for key, value in line.fields.items()),
    }
