"""Jobs: whether counters equal structures, and every job is in its place. `--fix` mends here."""

import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence

from ops.doctor.examination import Deployment
from ops.doctor.finding import Finding, fine, listed, problem, warning
from streams.audit import LANES_MAX, Audit, Balance, Findings, Misplaced
from streams.clock import SystemClock
from streams.model import ResourceClass

KEYS = 1_000  # of one page
LOOK_S = 15.0  # for the walk over all jobs
FIX_S = 600.0
STALE_MS = 24 * 3_600_000
MEND = "run `roughneck doctor --fix`; a worker's auditor does the same by and by"


async def check_counters(deployment: Deployment) -> list[Finding]:
    """Compare all counters with the structures."""
    return judge_balances(await deployment.engine.audit.balances())


def judge_balances(balances: Sequence[Balance]) -> list[Finding]:
    """A difference is a mistake of ours, or somebody's hand in Redis."""
    remedy = "find out why before `roughneck doctor --fix` sets the counters anew"
    found = [problem("counters", each.sentence, remedy) for each in balances if not each.even]
    for name in sorted(set(ResourceClass) - {each.resource_class for each in balances}):
        said = f"class {name} has over {LANES_MAX} lanes and is not compared"
        found.append(warning("counters", said, "use fewer apps and models for it"))
    return found or [fine("counters", "equal to what the structures hold")]


async def check_jobs(deployment: Deployment) -> list[Finding]:
    """Look at the place of every job, as far as the time goes."""
    looked, whole, found = 0, False, list[Misplaced]()
    async for cursor, count, misplaced in _walk(deployment.engine.audit, LOOK_S, mend=False):
        looked, whole = looked + count, cursor == 0
        found += misplaced
    return judge_places(looked, found, whole=whole)


def judge_places(looked: int, found: Sequence[Misplaced], *, whole: bool) -> list[Finding]:
    """What the walk says; each kind of damage is one line."""
    lines = []
    for what, count in sorted(Counter(each.what for each in found).items()):
        ids = [each.job_id for each in found if each.what == what]
        said = f"{count} of {looked} jobs looked at: {what} ({listed(ids, 3)})"
        lines.append(problem("jobs", said, MEND))
    if not whole:
        said = f"looked at {looked} jobs, then the time was up"
        lines.append(warning("jobs", said, "leave it to the workers' auditor, which goes on"))
    return lines or [fine("jobs", f"{looked} jobs, each in its place")]


async def check_auditor(deployment: Deployment) -> list[Finding]:
    """What the workers' auditor wrote down."""
    found = await deployment.engine.audit.findings()
    return judge_findings(found, SystemClock().now_ms())


def judge_findings(found: Findings, now_ms: int) -> list[Finding]:
    """Broken is what could not be mended; mended is told, since it should not happen."""
    lines = [
        problem("auditor", f"{count} jobs: {what}", "look at Redis' log: data were lost or removed")
        for what, count in found.broken.items()
    ]
    if found.mended:
        kinds = [f"{what} {count}" for what, count in found.mended.items()]
        said = f"jobs were out of place and put back: {listed(kinds)}"
        lines.append(warning("auditor", said, "find out who changes keys of ours by hand"))
    if found.ended_ms < now_ms - STALE_MS:
        said = "no whole walk over all jobs within a day" if found.ended_ms else "no walk yet"
        lines.append(warning("auditor", said, "let a worker run: each has the auditor in it"))
    return lines or [fine("auditor", f"the last walk saw {found.looked} jobs, all was well")]


async def fix(audit: Audit) -> list[str]:
    """Put jobs back in their place and set the counters anew; what was done, in sentences.

    Nothing is removed but entries and leases that stand for no job.
    """
    done = []
    dropped = sum([await audit.drop_leases(name) for name in ResourceClass])
    if dropped:
        done.append(f"dropped {dropped} leases that stood for no entry")
    mended: Counter[str] = Counter()
    async for _, _, misplaced in _walk(audit, FIX_S, mend=True):
        mended.update(each.what for each in misplaced if each.mended)
    done += [f"put back {count} jobs: {what}" for what, count in sorted(mended.items())]
    for name in ResourceClass:
        changed = await audit.recount(name)
        if changed:
            done.append(f"set {changed} counters of class {name} to what its structures hold")
    return done


async def _walk(
    audit: Audit, limit_s: float, *, mend: bool
) -> AsyncIterator[tuple[int, int, Sequence[Misplaced]]]:
    """Page after page, until the end or until the time is up."""
    cursor, deadline = 0, time.monotonic() + limit_s
    while True:
        stretch = await audit.walk(cursor, KEYS, mend=mend)
        yield stretch.cursor, stretch.looked, stretch.misplaced
        cursor = stretch.cursor
        if cursor == 0 or time.monotonic() > deadline:
            return
