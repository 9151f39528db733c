"""The second stage of `cnc-pattern-detection`: a model names what the clusters have in common.

It is told figures and may only give them names: what it says is about clusters that it was given.
Where none of its answers can be used the counts are answered without names.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec

from processors.cnc.patterns import TOP_MAX, Cluster, Counted
from processors.cnc.secrecy import concealed
from processors.cnc.verdict import Confidence
from processors.sdk import (
    AnswerCut,
    AnswerUnfit,
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
PATTERNS_MAX = 8


class Pattern(msgspec.Struct, frozen=True):
    """What some clusters have in common, as a model sees it."""

    label: str
    fingerprint_ids: tuple[str, ...]
    shared: str = msgspec.field(name="common_factor")
    hypothesis: str
    next_check: str
    confidence: Confidence


class PatternOut(msgspec.Struct):
    """The clusters, and names for what stands out. `degraded`: the model's could not be used."""

    clusters: tuple[Cluster, ...]
    patterns: tuple[Pattern, ...]
    errors: int
    rare: int
    degraded: bool
    meta: Meta


class NamedPattern(msgspec.Struct, frozen=True):
    """One pattern of the model's answer."""

    cluster_ids: Annotated[
        list[str], msgspec.Meta(description="ids out of CLUSTERS", min_length=1, max_length=TOP_MAX)
    ]
    shared: Annotated[str, said("what they share: app, time, deploy, dependency", most=200)] = (
        msgspec.field(name="common_factor")
    )
    hypothesis: Annotated[str, said("one sentence: what may be the cause", most=300)]
    next_check: Annotated[str, said("one sentence: what to look at first", most=300)]
    label: Annotated[str, said("a name, at most eight words", most=80)]
    confidence: Confidence


class Names(msgspec.Struct, frozen=True):
    """What the model answers."""

    patterns: Annotated[
        list[NamedPattern],
        msgspec.Meta(max_length=PATTERNS_MAX, description="the most urgent first"),
    ]


FORM = Form(
    name="patterns",
    answer=Names,
    role=(
        "You are an engineer on call who is shown clusters of errors that were counted for you, "
        "and who says which belong together and why."
    ),
    rules=(
        "Put clusters into one pattern when one cause would explain them; a cluster alone may be "
        "a pattern.",
        "A cluster is in at most one pattern. Leave out what is usual.",
        "Name no figures but those in CLUSTERS.",
        "confidence is high only when a deploy or one dependency explains all of it.",
        "Write English.",
    ),
    max_tokens=1_500,
)


@processor(
    Manifest(
        name="cnc-pattern-name",
        version="1.0.0",
        summary="Name what clusters of errors have in common.",
        resource_class=ResourceClass.OLLAMA,
        dependencies=("ollama",),
        model="gen",
        attempts_max=3,
        backoff_s=60,
        timeout_s=300,
        prompt_version=PROMPT_VERSION,
    )
)
async def cnc_pattern_name(given: Counted, context: Context) -> PatternOut:
    """Ask for names of what is notable; where nothing is, no model is asked."""
    interview = Interview(context, PROMPT_VERSION)
    known = {f"c{number}": cluster for number, cluster in enumerate(top(given.clusters), start=1)}
    degraded = False
    patterns: tuple[Pattern, ...] = ()
    if known:
        try:
            names = await interview.ask(FORM, data_of(known), lambda one: faults_of(one, known))
            patterns = tuple(pattern_of(one, known) for one in names.patterns)
        except (AnswerUnfit, AnswerCut) as error:
            context.log.warning("counts without names", error=str(error))
            degraded = True
    return PatternOut(
        clusters=given.clusters,
        patterns=patterns,
        errors=given.errors,
        rare=given.rare,
        degraded=degraded,
        meta=interview.meta,
    )


def top(clusters: Sequence[Cluster]) -> list[Cluster]:
    """The notable ones, as many as a model can keep apart; they come ordered."""
    return [cluster for cluster in clusters if cluster.notable][:TOP_MAX]


def data_of(known: Mapping[str, Cluster]) -> dict[str, object]:
    """What the model sees: figures, templates and no secrets."""
    return {"CLUSTERS": "\n".join(line_of(name, one) for name, one in known.items())}


def line_of(name: str, cluster: Cluster) -> str:
    """A cluster in a line."""
    facts = [
        f"{cluster.count} times",
        f"apps {', '.join(cluster.apps)}",
        f"{cluster.first:%d %b %H:%M} to {cluster.last:%d %b %H:%M} UTC",
    ]
    if cluster.new:
        facts.append("new")
    if cluster.spike:
        facts.append(
            f"spike at {cluster.spike.at:%H:%M}: {cluster.spike.rate:g} a minute, "
            f"usual {cluster.spike.baseline:g}"
        )
    if cluster.trend != "steady":
        facts.append(cluster.trend)
    if cluster.deploy:
        facts.append(
            f"{cluster.deploy.lag_s:.0f} s after {cluster.deploy.app} {cluster.deploy.version}"
        )
    named = cluster.exception and not cluster.template.startswith(cluster.exception)
    kind = f"{cluster.exception}: " if named else ""
    return concealed(f"{name}: {kind}{cluster.template} ({'; '.join(facts)})")


def faults_of(names: Names, known: Mapping[str, Cluster]) -> list[str]:
    """What is wrong with an answer: clusters that were not shown, or are named twice."""
    found = [one for pattern in names.patterns for one in pattern.cluster_ids]
    faults = [f"there is no cluster {one!r}" for one in dict.fromkeys(found) if one not in known]
    twice = sorted({one for one in found if found.count(one) > 1 and one in known})
    faults += [f"the cluster {one} is in more than one pattern" for one in twice]
    if not names.patterns:
        faults.append("there is no pattern; what is unusual needs a name")
    return faults


def pattern_of(named: NamedPattern, known: Mapping[str, Cluster]) -> Pattern:
    """A pattern with the fingerprints of its clusters."""
    return Pattern(
        label=named.label.strip(),
        fingerprint_ids=tuple(known[one].fingerprint for one in named.cluster_ids),
        shared=named.shared.strip(),
        hypothesis=named.hypothesis.strip(),
        next_check=named.next_check.strip(),
        confidence=named.confidence,
    )
