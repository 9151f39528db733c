"""Says what kind of trouble an error is: by rule where it says so itself, else by a model, once.

Errors of one fingerprint get one answer: a storm costs one call of the model, or none. Secrets and
e-mail addresses are taken out of everything before a model reads it.
"""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from processors.cnc.fingerprint import fingerprint
from processors.cnc.masking import masked
from processors.cnc.rules import judged
from processors.cnc.secrecy import concealed, concealed_fields
from processors.cnc.stacks import TYPE, trace_of
from processors.cnc.verdict import (
    Category,
    Confidence,
    Severity,
    Verdict,
    at_least,
    floor_of,
)
from processors.sdk import (
    Cache,
    Context,
    Form,
    Interview,
    Manifest,
    Meta,
    ResourceClass,
    processor,
    said,
)

PROMPT_VERSION = "1"
KEPT_S = 86_400.0
LINES_SHOWN, LINE_SHOWN, FIELDS_SHOWN = 40, 500, 30

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class ErrorIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One error of an app. `fingerprint` is the app's own grouping, where it has one."""

    app: Name
    env: Annotated[str, msgspec.Meta(max_length=64)]
    timestamp: datetime
    level: Literal["debug", "info", "warning", "error", "critical", "fatal"]
    message: Annotated[str, msgspec.Meta(min_length=1, max_length=100_000)]
    stack: Annotated[str, msgspec.Meta(max_length=500_000)] | None = None
    context: dict[str, str | int | float | bool | None] = {}
    fingerprint: Name | None = None


class ErrorOut(msgspec.Struct):
    """What the error is. `source` says whether a rule or a model found it."""

    fingerprint: str
    template: str
    category: Category
    severity: Severity
    component: str
    root_cause: str
    evidence_line: str
    retryable: bool
    suggested_action: str
    confidence: Confidence
    source: Literal["rule", "model"]
    cached: bool
    meta: Meta


class Classified(msgspec.Struct, frozen=True):
    """What the model answers."""

    evidence_line: Annotated[
        str, said("one line of MESSAGE or STACK, word for word", most=LINE_SHOWN)
    ]
    root_cause: Annotated[str, said("one sentence", most=300)]
    component: Annotated[str, said("the part that fails, one to three words", most=60)]
    category: Category
    severity: Severity
    retryable: Annotated[bool, msgspec.Meta(description="whether the same may work a little later")]
    suggested_action: Annotated[str, said("one or two sentences: what to do next", most=400)]
    confidence: Confidence


FORM = Form(
    name="classify",
    answer=Classified,
    role="You are an engineer on call who sorts errors of web applications.",
    rules=(
        "Judge only by what MESSAGE, STACK and CONTEXT say; where they say little, confidence is "
        "low and category is unknown.",
        "bug means a fault of the app's own code.",
        "The severity is critical when the app cannot go on, high when users are hit, medium when "
        "one request fails, low when nothing is lost, info when nothing is wrong.",
        "<secret>, <email>, <card> and <cpr> stand for what was taken out; never guess it.",
        "Write English.",
    ),
    max_tokens=600,
)


@processor(
    Manifest(
        name="cnc-error-classify",
        version="1.0.0",
        summary="Say what kind of trouble an error is, and what to do about it.",
        resource_class=ResourceClass.OLLAMA,
        dependencies=("ollama", "cache"),
        model="classify",
        attempts_max=4,
        backoff_s=10,
        timeout_s=60,
        prompt_version=PROMPT_VERSION,
    )
)
async def cnc_error_classify(given: ErrorIn, context: Context) -> ErrorOut:
    """Rules first, then what is known of the fingerprint, then the model."""
    trace = trace_of(given.message, given.stack)
    key = fingerprint(given.app, trace, given.message, given.fingerprint)
    interview = Interview(context, PROMPT_VERSION)
    found = judged(telling_lines(given))
    if found is not None:
        return answer(given, key, (found, "rule", False), interview.meta)
    cache = context.need("cache", Cache)
    name = f"{PROMPT_VERSION}/{key}"
    known = cache.get(name)
    if isinstance(known, Verdict):
        return answer(given, key, (known, "model", True), interview.meta)
    seen = data_of(given)
    shown = {plain(line) for part in ("MESSAGE", "STACK") for line in seen[part].splitlines()}

    def check(one: Classified) -> list[str]:
        line = plain(one.evidence_line)
        is_there = any(line in other for other in shown)
        return [] if line and is_there else ["evidence_line is no line of MESSAGE or STACK"]

    classified = await interview.ask(FORM, seen, check)
    verdict = msgspec.convert(msgspec.structs.asdict(classified), Verdict)
    cache.put(name, verdict, ttl_s=KEPT_S)
    return answer(given, key, (verdict, "model", False), interview.meta)


def answer(
    given: ErrorIn, key: str, how: tuple[Verdict, Literal["rule", "model"], bool], meta: Meta
) -> ErrorOut:
    """The result for this error, from a verdict that may be of another of its fingerprint."""
    verdict, source, cached = how
    return ErrorOut(
        fingerprint=key,
        template=masked(given.message.split("\n", 1)[0]),
        category=verdict.category,
        severity=at_least(verdict.severity, floor_of(given.level, given.env)),
        component=verdict.component,
        root_cause=verdict.root_cause,
        evidence_line=evidence_in(given, verdict.evidence_line),
        retryable=verdict.retryable,
        suggested_action=verdict.suggested_action,
        confidence=verdict.confidence,
        source=source,
        cached=cached,
        meta=meta,
    )


def telling_lines(given: ErrorIn) -> list[str]:
    """The lines that say what happened: of the message, and of the stack those with a type."""
    stack = (line.strip() for line in (given.stack or "").splitlines())
    return [*given.message.splitlines(), *(line for line in stack if TYPE.match(line))]


def evidence_in(given: ErrorIn, evidence: str) -> str:
    """The line of this error that is as the evidence, with nothing secret; else its first line."""
    lines = [*both_ends(given.message), *both_ends(given.stack or "")]
    wanted = masked(evidence)
    same = next((line for line in lines if masked(line) == wanted), None)
    return concealed(same or given.message.strip().splitlines()[0]).strip()[:LINE_SHOWN]


def data_of(given: ErrorIn) -> dict[str, str]:
    """What the model sees: shortened, and without secrets."""
    fields = concealed_fields(dict(list(given.context.items())[:FIELDS_SHOWN]))
    return {
        "APP": concealed(f"{given.app}, {given.env}, level {given.level}"),
        "MESSAGE": concealed("\n".join(both_ends(given.message))),
        "STACK": concealed("\n".join(both_ends(given.stack or ""))),
        "CONTEXT": "\n".join(f"{name}: {value[:LINE_SHOWN]}" for name, value in fields.items()),
    }


def both_ends(text: str) -> list[str]:
    """The first and the last lines, which say what happened, each shortened."""
    kept = [line.rstrip()[:LINE_SHOWN] for line in text.splitlines() if line.strip()]
    if len(kept) > LINES_SHOWN:
        half = LINES_SHOWN // 2
        kept = [*kept[:half], f"… {len(kept) - 2 * half} lines", *kept[-half:]]
    return kept


def plain(line: str) -> str:
    """A line without its outer and double blanks, to be compared."""
    return " ".join(line.split())
