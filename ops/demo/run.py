"""The course of the demo: submit, kill, stand still, hand over; then open the books."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

from gateway.wire import JobView
from ops.demo.family import Kin, living
from ops.demo.ledger import Seen, duplicates, findings, told
from ops.demo.newsletter import kept, told_of, whole
from ops.demo.processes import Process
from ops.demo.report import Figures, Report
from ops.demo.scenario import WEEKLY, Planned, everything, first_wave, second_wave, third_wave
from ops.demo.scene import Scene, opened
from streams.clock import SystemClock
from streams.model import ResourceClass, State

RIPE_MS = 1_000  # work that has gone on for so long is worth a kill
LOOK_EVERY_S = 0.05
MOMENT_LIMIT_S = 15.0  # for a moment worth interfering; the demo goes on without it
END_LIMIT_S = 180.0
REAL_END_LIMIT_S = 900.0  # a real model takes its time
QUIET_LIMIT_S = 15.0
ANSWERS_SHOWN = 3


async def run(report: Report, folder: Path, newsletter: Path) -> list[str]:
    """Play the demo in `folder` and print it; what is wrong, a sentence each.

    The issue that it writes goes to the file `newsletter`.
    """
    async with opened(report, folder) as scene:
        orphans = await kill_first(scene)
        second = await scene.processes.worker("second")
        scene.report.step(f"worker second runs (process {second.pid})")
        await freeze(scene, second)
        orphans += await hand_over(scene, second)
        wrong = await close_books(scene, orphans, newsletter)
        if wrong:
            report.console.print(scene.processes.logs(), style="dim", markup=False)
    report.verdict(wrong)
    return wrong


async def kill_first(scene: Scene) -> list[Kin]:
    """Kill the first worker while it runs jobs of all classes; the processes it leaves behind."""
    await submit(scene, first_wave(scene.pages))
    await until(lambda: _ripe(scene), MOMENT_LIMIT_S)
    running = await scene.desk.running("first")
    orphans = scene.first.children()
    scene.first.kill()
    scene.report.step(f"SIGKILL for worker first, which ran {_counted(running)}", "bold red")
    await submit(scene, second_wave(scene.pages))
    return orphans


async def freeze(scene: Scene, second: Process) -> None:
    """Let the second worker stand still beyond its leases while a third one takes over."""
    await _await_job(scene, "second", "standing-still")
    frozen = {job.id for job in await scene.desk.running("second")}
    began = time.monotonic()
    second.freeze()
    scene.report.step(f"SIGSTOP for worker second: it stands still amid {len(frozen)} jobs", "bold")
    third = await scene.processes.worker("third")
    scene.report.step(f"worker third runs (process {third.pid}) and takes over")
    await until(lambda: _taken_from(scene, "second", frozen), MOMENT_LIMIT_S)
    second.thaw()
    stood_s = time.monotonic() - began
    scene.report.step(f"SIGCONT: after {stood_s:.1f} s worker second goes on where it stood")


async def hand_over(scene: Scene, second: Process) -> list[Kin]:
    """Tell the second worker to stop amid jobs longer than its grace; the processes it had."""
    await submit(scene, third_wave(scene.pages))
    await _await_job(scene, "second", "handed-on")
    running = await scene.desk.running("second")
    children = second.children()
    scene.report.step(f"SIGTERM for worker second, which runs {_counted(running)}", "bold")
    await second.stop()
    scene.report.step("worker second has stopped; what it could not end it handed back")
    return children


async def submit(scene: Scene, wave: list[Planned]) -> None:
    """Submit jobs as their apps."""
    for planned in wave:
        may_fail = (
            scene.real is not None and planned.processor == WEEKLY
        )  # a model may be too small
        await scene.desk.submit(planned, or_ends=State.DEAD if may_fail else None)
        scene.watch.submitted = len(scene.desk.submissions)
    apps = len({planned.app for planned in wave})
    scene.report.step(f"{len(wave)} jobs of {apps} apps are submitted")


async def close_books(scene: Scene, orphans: Collection[Kin], newsletter: Path) -> list[str]:
    """Wait until all is quiet, print what came of it; what is wrong."""
    limit_s = REAL_END_LIMIT_S if scene.real else END_LIMIT_S
    if await until(lambda: _ended(scene), limit_s):
        scene.report.step(f"all {len(scene.desk.submissions)} jobs have ended")
    await until(lambda: _quiet(scene), QUIET_LIMIT_S)
    seen = Seen(
        submissions=scene.desk.submissions,
        answers=await scene.desk.answers(),
        receipts=scene.receiver.receipts,
        ends={job: course.ends for job, course in scene.watch.history.courses.items()},
        audit=await scene.engine.inspector.audit(),
        callbacks=await scene.engine.callbacks.counts(),
        left=living(orphans),
    )
    show(scene, seen)
    await show_issue(scene, seen, newsletter)
    scene.report.summary(scene.watch.history, figures(scene, seen))
    wrong = findings(seen)
    if not scene.watch.history.reclaimed:
        wrong.append("no worker died amid its work, so nothing was shown")
    return wrong


def show(scene: Scene, seen: Seen) -> None:
    """Print what was read and said."""
    told_of = [told(one) for one in seen.receipts if one.verified]
    results = {said.job_id: said.result for said in told_of}
    events = {
        result["event_key"]: result
        for one in seen.submissions
        if (result := results.get(one.job_id)) and "event_key" in result
    }
    scene.report.pages(list(events.values()))
    prompts = {one.name: one.payload["prompt"] for one in everything("") if one.processor == "ask"}
    said = [
        (prompts[one.name], results[one.job_id]["answer"])
        for one in seen.submissions
        if one.name in prompts and results.get(one.job_id)
    ]
    scene.report.answers(said[:ANSWERS_SHOWN], scene.model_source)


async def show_issue(scene: Scene, seen: Seen, newsletter: Path) -> None:
    """Keep the newsletter that was written, and print what is in it."""
    written = next(one for one in seen.submissions if one.name == "newsletter")
    answer = seen.answers.get(written.job_id)
    if answer is None or answer.state is not State.SUCCEEDED:
        scene.report.step(f"{scene.model_source} was not up to writing the newsletter")
        return
    file = kept(await whole(answer.result["html"]), newsletter)
    scene.report.newsletter([*told_of(answer.result), ("read it", f"file://{file}")])


def figures(scene: Scene, seen: Seen) -> Figures:
    """The summary's figures."""
    answers = [answer for answer in seen.answers.values() if answer]
    return Figures(
        jobs=len(seen.submissions),
        stages=len(scene.watch.history.courses) - len(seen.submissions),
        repeated=scene.desk.repeated,
        attempts=sum(answer.attempt for answer in answers),
        dead=sum(answer.state is State.DEAD for answer in answers),
        dead_planned=sum(one.ends is State.DEAD for one in seen.submissions),
        fenced=scene.processes.fenced(),
        callbacks=len({one.callback_id for one in seen.receipts if one.verified}),
        duplicates=duplicates(seen.receipts),
        took_s=scene.report.elapsed_s,
    )


async def until(condition: Callable[[], Awaitable[bool]], limit_s: float) -> bool:
    """Wait until `condition` holds; False when it did not within the limit."""
    deadline = time.monotonic() + limit_s
    while not await condition():
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(LOOK_EVERY_S)
    return True


async def _await_job(scene: Scene, worker: str, name: str) -> None:
    """Until `worker` runs a job whose name begins so, or the moment has passed."""

    async def runs() -> bool:
        running = await scene.desk.running(worker)
        return any(tag.startswith(name) for job in running for tag in job.tags)

    await until(runs, MOMENT_LIMIT_S)


async def _ripe(scene: Scene) -> bool:
    now_ms = SystemClock().now_ms()
    return scene.watch.history.is_at_full_work(now_ms - RIPE_MS)


async def _taken_from(scene: Scene, worker: str, jobs: Collection[str]) -> bool:
    """Whether any of `jobs` is no longer the worker's."""
    return bool(set(jobs) - {job.id for job in await scene.desk.running(worker)}) or not jobs


async def _ended(scene: Scene) -> bool:
    courses = scene.watch.history.courses
    ids = [one.job_id for one in scene.desk.submissions]
    return all(one in courses and courses[one].state.ended for one in ids)


async def _quiet(scene: Scene) -> bool:
    """Whether every callback has arrived and been settled, and the counters have come to rest."""
    if scene.receiver.accepted < len(scene.desk.submissions):
        return False
    counts = await scene.engine.callbacks.counts()
    return not counts.get("waiting") and not await scene.engine.inspector.audit()


def _counted(jobs: Collection[JobView]) -> str:
    counts = Counter(job.resource_class for job in jobs)
    parts = [f"{counts[name]} {name}" for name in ResourceClass if counts[name]]
    return (", ".join(parts) or "no") + " jobs"
