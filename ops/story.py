"""A job's whole story as it is shown: what it is, each wait and attempt, what it said, how it
ended, who was told, and why it stands where it stands."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from gateway.wire import JobView
from gateway.wire_control import AttemptView, Explanation
from gateway.wire_registry import CallbackDetail
from ops.cli.screen import Row, age_of, card_of, duration, local, table_of
from streams.ids import callback_id
from streams.model import Fault, State
from streams.usage import Usage

CALLBACKS_MAX = 5  # endings of a job whose callbacks are looked for


class Story(msgspec.Struct, frozen=True):
    """Everything that is known of one job."""

    job: JobView
    attempts: tuple[AttemptView, ...] = ()
    callbacks: tuple[CallbackDetail, ...] = ()
    explanation: Explanation | None = None

    def as_json(self) -> Mapping[str, object]:
        """The job's own fields, and beside them the rest."""
        fields = msgspec.json.decode(msgspec.json.encode(self.job))
        return {
            **fields,
            "attempts": self.attempts,
            "callbacks": self.callbacks,
            "explanation": self.explanation,
        }


def callback_ids(job: JobView) -> list[str]:
    """Ids that the job's callbacks have, if it has that many: one for each of its endings."""
    if job.callback is None:
        return []
    return [callback_id(job.id, ending) for ending in range(1, CALLBACKS_MAX + 1)]


def drawing_of(story: Story) -> RenderableType:
    """The story, to be drawn."""
    parts: list[RenderableType] = [card_of(facts_of(story.job))]
    if story.attempts:
        parts += [Text("\nAttempts", "bold"), table_of(list(_attempt_rows(story)))]
        parts += _lines(story.attempts)
    if story.callbacks:
        parts += [
            Text("\nCallbacks", "bold"),
            table_of([_callback(one) for one in story.callbacks]),
        ]
    if story.explanation and not story.job.state.ended:
        parts += [Text("\nWhy", "bold"), *explained(story.explanation)]
    return Group(*parts)


def explained(told: Explanation) -> list[Text]:
    """An explanation, a line for each reason."""
    lines = [Text(reason.text, "red" if reason.stops else "") for reason in told.reasons]
    if told.estimated_start_at:
        when = local(told.estimated_start_at)
        lines.append(Text(f"It starts at about {when}."))
    return lines


def facts_of(view: JobView) -> Row:
    """One job as a card."""
    progress = "" if view.progress is None else f"{view.progress:.0%} "
    result = b"" if isinstance(view.result, msgspec.UnsetType) else bytes(view.result)
    callback = view.callback
    return {
        "job": view.id,
        "state": view.state,
        "app": view.app,
        "processor": view.processor,
        "class": view.resource_class,
        "model": view.model,
        "priority": view.priority,
        "position": _place(view),
        "flow": f"{view.flow} {view.stage}".strip(),
        "attempts": f"{view.attempt} started, {view.failures} of {view.attempts_max} failed",
        "crashes": view.crashes or "",
        "progress": f"{progress}{view.note}",
        "submitted": _at(view.submitted_at),
        "due": local(view.due_at),
        "expires": local(view.expires_at) if not view.state.ended else "",
        "started": _at(view.started_at),
        "ended": _at(view.ended_at),
        "worker": view.worker,
        "cancelling": "it was asked to stop" if view.cancel_requested else "",
        "error": _fault(view.error),
        "callback": f"{callback.url} for {', '.join(callback.events)}" if callback else "",
        "tags": " ".join(view.tags),
        "usage": _used(view.usage),
        "unique": view.unique.name if view.unique else "",
        "result": result.decode(),
    }


def _attempt_rows(story: Story) -> Iterator[Row]:
    before = story.job.submitted_at
    for view in story.attempts:
        yield {
            "ATTEMPT": view.attempt,
            "WAITED": _span(before, view.started_at),
            "STARTED": local(view.started_at),
            "TOOK": _span(view.started_at, view.ended_at),
            "ENDING": view.ending,
            "WORKER": view.worker,
            "ERROR": _fault(view.error),
            "NOTE": view.note,
        }
        before = view.ended_at
    due = story.job.due_at
    if story.job.state is State.DELAYED and before and due:
        yield {
            "ATTEMPT": story.attempts[-1].attempt + 1,
            "WAITED": "",
            "STARTED": f"due {local(due)}",
        }


def _lines(attempts: Sequence[AttemptView]) -> list[RenderableType]:
    """What the attempts logged."""
    lines: list[RenderableType] = []
    for attempt in attempts:
        for line in attempt.log:
            fields = "" if bytes(line.fields) == b"{}" else f" {bytes(line.fields).decode()}"
            said = f"{line.level}  {line.message}{fields}"
            lines.append(Text(f"{attempt.attempt}  {local(line.at)}  {said}"))
    return [Text("\nLog", "bold"), *lines] if lines else []


def _callback(view: CallbackDetail) -> Row:
    last = view.attempts[-1] if view.attempts else None
    return {
        "CALLBACK": view.id,
        "STATE": view.state,
        "OF": view.job_state,
        "ATTEMPTS": len(view.attempts),
        "LAST": local(last.at) if last else "",
        "ANSWER": f"{last.status or last.error} in {last.took_ms} ms" if last else "",
        "NEXT": local(view.due_at),
        "REASON": view.reason,
    }


def _place(view: JobView) -> str:
    if view.position is None:
        return ""
    when = f", starts at about {local(view.estimated_start_at)}" if view.estimated_start_at else ""
    return f"{view.position} in its lane{when}"


def _used(usage: Usage | None) -> str:
    """What a job used of models, in words; parts that are nothing are left out."""
    if usage is None:
        return ""
    said = [
        "answered from the cache" if usage.cached else "",
        f"{usage.asks} asks" if usage.asks > 1 else "",
        f"{usage.repairs} repairs" if usage.repairs else "",
        f"{usage.prompt_tokens:,} + {usage.completion_tokens:,} tokens" if usage.asks else "",
        f"{usage.eval_s:.1f} s at {usage.tokens_per_s:.1f}/s" if usage.eval_s else "",
        f"loaded in {usage.load_s:.1f} s" if usage.swaps else "",
    ]
    return ", ".join(filter(None, said))


def _fault(fault: Fault | None) -> str:
    return f"{fault.code}: {fault.message}" if fault else ""


def _at(moment: datetime | None) -> str:
    return f"{local(moment)} ({age_of(moment)} ago)" if moment else ""


def _span(since: datetime | None, until: datetime | None) -> str:
    if since is None or until is None:
        return ""
    seconds = max(0.0, (until - since).total_seconds())
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds * 1_000)
