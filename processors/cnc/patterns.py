"""Errors of a time in clusters: how many, since when, whether that is unusual, and after what.

Nothing depends on the order in which the errors come: templates are made of the sorted messages.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated

import msgspec

from processors.cnc.drain import templates
from processors.cnc.fingerprint import digest
from processors.cnc.masking import masked
from processors.cnc.secrecy import concealed
from processors.cnc.spikes import LAG_MAX_S, Span, Spike, find_spike, trend
from processors.cnc.stacks import exception_of

EXAMPLE_MAX = 300
TOP_MAX = 20
ERRORS_MAX, DEPLOYS_MAX = 5_000, 200

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Between(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stretch of time; its end does not belong to it."""

    start: Moment = msgspec.field(name="from")
    end: Moment = msgspec.field(name="to")

    @property
    def span(self) -> Span:
        """In seconds since the epoch."""
        return Span(self.start.timestamp(), self.end.timestamp())


class Occurrence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An error that happened."""

    app: Name
    at: Moment
    message: Annotated[str, msgspec.Meta(max_length=20_000)]
    exception: Annotated[str, msgspec.Meta(max_length=200)] = ""


class Deploy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version of an app that went live."""

    app: Name
    at: Moment
    version: Name


class PatternIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Errors of the window that is looked at, and of the baseline that it is compared with."""

    window: Between
    baseline: Between
    errors: Annotated[tuple[Occurrence, ...], msgspec.Meta(max_length=ERRORS_MAX)]
    deploys: Annotated[tuple[Deploy, ...], msgspec.Meta(max_length=DEPLOYS_MAX)] = ()
    min_count: Annotated[int, msgspec.Meta(ge=1, le=ERRORS_MAX)] = 5


class SpikeFound(msgspec.Struct, frozen=True):
    """More than usual: errors a minute, what is usual, standard deviations between them.

    `chance` is that of so many where nothing is unusual (Poisson).
    """

    rate: float
    baseline: float
    score: float
    chance: float
    at: datetime


class AfterDeploy(msgspec.Struct, frozen=True):
    """A deploy shortly before."""

    app: str
    version: str
    lag_s: float


class Cluster(msgspec.Struct, frozen=True):
    """Errors of one kind. `new`: there was none in the baseline."""

    fingerprint: str
    template: str
    exception: str
    example: str
    count: int
    first: datetime
    last: datetime
    apps: tuple[str, ...]
    new: bool
    trend: str
    spike: SpikeFound | None
    deploy: AfterDeploy | None

    @property
    def notable(self) -> bool:
        """Whether there is anything unusual about it."""
        return self.new or self.spike is not None or self.trend == "rising"


class Counted(msgspec.Struct, frozen=True):
    """What counting found. `rare` errors are of kinds that did not reach `min_count`."""

    clusters: tuple[Cluster, ...]
    errors: int  # in the window
    rare: int


class Kind(msgspec.Struct, frozen=True):
    """What makes two errors one kind."""

    exception: str
    template: str


def count_patterns(given: PatternIn) -> Counted:
    """The clusters of the window, the most unusual first."""
    window, baseline = given.window.span, given.baseline.span
    kinds = kinds_of(given.errors)
    of_window: dict[Kind, list[Occurrence]] = {}
    usual: dict[Kind, list[float]] = {}
    for error, kind in zip(given.errors, kinds, strict=True):
        at = error.at.timestamp()
        if window.start <= at < window.end:
            of_window.setdefault(kind, []).append(error)
        elif baseline.start <= at < baseline.end:
            usual.setdefault(kind, []).append(at)
    kept = [kind for kind, errors in of_window.items() if len(errors) >= given.min_count]
    clusters = [
        cluster_of(kind, of_window[kind], sorted(usual.get(kind, ())), given) for kind in kept
    ]
    total = sum(map(len, of_window.values()))
    return Counted(
        clusters=tuple(sorted(clusters, key=order)),
        errors=total,
        rare=total - sum(cluster.count for cluster in clusters),
    )


def kinds_of(errors: Sequence[Occurrence]) -> list[Kind]:
    """The kind of each error."""
    firsts = [error.message.strip().split("\n", 1)[0] for error in errors]
    by_message = {message: masked(message) for message in set(firsts)}
    template = templates(by_message.values())
    return [
        Kind(error.exception or exception_of(first, ""), template[by_message[first]])
        for error, first in zip(errors, firsts, strict=True)
    ]


def cluster_of(
    kind: Kind, errors: Sequence[Occurrence], usual: Sequence[float], given: PatternIn
) -> Cluster:
    """The cluster of errors of one kind."""
    ordered = sorted(errors, key=lambda error: (error.at, error.app, error.message))
    times = [error.at.timestamp() for error in ordered]
    spike = find_spike(given.window.span, times, given.baseline.span, usual)
    new = not usual
    begins = spike.at if spike else times[0] if new else None
    apps = Counter(error.app for error in ordered)
    return Cluster(
        fingerprint=digest(kind.exception, kind.template),
        template=kind.template,
        exception=kind.exception,
        example=concealed(ordered[0].message)[:EXAMPLE_MAX],
        count=len(ordered),
        first=utc(times[0]),
        last=utc(times[-1]),
        apps=tuple(sorted(apps, key=lambda app: (-apps[app], app))),
        new=new,
        trend=trend(given.window.span, times),
        spike=spike_found(spike) if spike else None,
        deploy=None if begins is None else deploy_before(begins, apps, given.deploys),
    )


def spike_found(spike: Spike) -> SpikeFound:
    """A spike as it is told."""
    return SpikeFound(spike.rate, spike.baseline, spike.score, spike.chance, utc(spike.at))


def deploy_before(
    begins: float, apps: Mapping[str, int], deploys: Iterable[Deploy]
) -> AfterDeploy | None:
    """The last deploy of one of the apps within LAG_MAX_S before."""
    lags = [
        (begins - deploy.at.timestamp(), deploy.app, deploy.version)
        for deploy in deploys
        if deploy.app in apps and 0 <= begins - deploy.at.timestamp() <= LAG_MAX_S
    ]
    if not lags:
        return None
    lag_s, app, version = min(lags)
    return AfterDeploy(app, version, round(lag_s, 1))


def order(cluster: Cluster) -> tuple[float, bool, int, str]:
    """The strongest spikes first, then what is new, then what is most."""
    score = cluster.spike.score if cluster.spike else 0.0
    return -score, not cluster.new, -cluster.count, cluster.fingerprint


def utc(seconds: float) -> datetime:
    """A moment."""
    return datetime.fromtimestamp(seconds, UTC)
