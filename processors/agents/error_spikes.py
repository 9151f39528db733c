"""Watches dead letters and failing attempts of all jobs, and tells when there are more than usual.

The live part of `cnc-pattern-detection`: the same arithmetic over the events of jobs, a minute at a
time against the hour before.
"""

from functools import partial

from processors.cnc.live import SpikeWatch
from processors.sdk import AgentContext, Counts, Event, Events, State, Watch, Window, agent

MINUTE = Window(size_s=60, kept=60)


@agent(
    Watch(
        "error-spikes",
        "1.0.0",
        "Tells when more attempts fail than usual, by app, processor and error.",
        counts={"errors": MINUTE},
        states=(State.DEAD, State.DELAYED),
    )
)
async def error_spikes(events: Events, context: AgentContext) -> None:
    """Count each failure in its minute; tell of the begin and the end of a spike."""
    counts, watch = context.counts("errors"), SpikeWatch()
    async for event in events:
        window = event.at_ms // round(MINUTE.size_s * 1_000)
        for ended in watch.over(window):
            tell(context, "info", "errors are as usual again", ended.key, errors=ended.count)
        key = key_of(event)
        if not key:
            continue
        before = partial(counts_before, counts, key, known_windows(context, window))
        begun = watch.see(key, window, counts.add(key), before)
        if begun:
            how = {"count": begun.count, "usual": begun.usual, "score": begun.score}
            tell(context, "warning", "a spike of errors", key, **how)


def key_of(event: Event) -> str:
    """App, processor and code of a failure; "" for an event that is none."""
    failed = event.kind == "retrying" or (event.kind == "ended" and event.state == "dead")
    code = event.fields.get("code", "")
    return f"{event.app}/{event.lane.processor}/{code}" if failed and code else ""


def known_windows(context: AgentContext, window: int) -> int:
    """How many windows before this one the agent has seen events of."""
    first = context.began_ms // round(MINUTE.size_s * 1_000)
    return max(0, min(MINUTE.kept - 1, window - first))


def counts_before(counts: Counts, key: str, known: int) -> list[int]:
    """The counts of the windows that are known, the oldest first."""
    return counts.before(key)[-known:] if known else []


def tell(context: AgentContext, level: str, message: str, key: str, **fields: object) -> None:
    """A line about a kind of error; while old events are read again nobody is told."""
    if context.replaying:
        return
    app, processor, code = key.split("/", 2)
    say = context.log.warning if level == "warning" else context.log.info
    say(message, app=app, processor=processor, code=code, **fields)
