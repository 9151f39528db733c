"""`roughneck doctor`: examine the deployment, and say what to do."""

from collections.abc import Sequence

import click
import uvloop

from ops.cli.session import Command, Session, pass_session
from ops.doctor import (
    FIRST,
    LOCAL,
    REMOTE,
    Deployment,
    Finding,
    Level,
    examine,
    examine_here,
    fix,
)
from ops.doctor.finding import problem
from ops.links import engine_over, open_redis
from ops.settings import Settings, hide_password
from streams.errors import ConfigError, Trouble, Unavailable
from streams.scripts import translated

PROBLEMS = 1  # the exit code


@click.command(
    cls=Command, epilog="\b\nExamples:\n  roughneck doctor\n  roughneck doctor --fix -o json"
)
@click.option(
    "--fix", "mend", is_flag=True, help="Put jobs back in place and set counters anew, first."
)
@pass_session
@click.pass_context
def doctor(context: click.Context, session: Session, /, *, mend: bool) -> None:
    """Examine the whole deployment, and say what to do (exit 1 when there is a problem).

    It changes nothing. With --fix jobs that are out of place are put back, and counters that differ
    are set to what is there; no job is ever removed.
    """
    try:
        settings = session.settings
    except ConfigError as error:
        found = [problem("settings", str(error), "mend the file or the variable that is named")]
    else:
        found = uvloop.run(_examined(session, settings, mend=mend))
    _show(session, found)
    if any(finding.level is Level.PROBLEM for finding in found):
        context.exit(PROBLEMS)


async def _examined(session: Session, settings: Settings, *, mend: bool) -> list[Finding]:
    found = await examine_here(settings, session.path, LOCAL)
    try:
        client = open_redis(settings.redis, "doctor")
    except Unavailable:
        return found  # no server is named, and the embedded one has been looked at
    except ConfigError as error:
        return [*found, problem("link", str(error), "write it as redis://USER@HOST:6379/0")]
    async with client:
        deployment = Deployment(settings, session.path, engine_over(client, settings))
        try:
            await deployment.engine.ping()
        except Trouble as error:
            where = hide_password(settings.redis.url) or settings.redis.folder
            remedy = (
                "look whether it runs, whether the network lets us through, and at the password"
            )
            return [*found, problem("link", f"{where}: {error}", remedy)]
        if mend:
            with translated():
                for done in await fix(deployment.engine.audit):
                    session.screen.note(done)
        return found + await examine(deployment, [FIRST]) + await examine(deployment, REMOTE)


def _show(session: Session, found: Sequence[Finding]) -> None:
    order = [Level.PROBLEM, Level.WARNING, Level.OK]
    found = sorted(found, key=lambda finding: order.index(finding.level))
    rows = [
        {"CHECK": one.check, "": str(one.level), "WHAT": one.what, "DO": one.remedy}
        for one in found
    ]
    session.screen.show(found, rows)
    if not session.screen.as_json:
        count = {level: sum(one.level is level for one in found) for level in order}
        told = ", ".join(f"{count[level]} {level}" for level in order if count[level])
        session.screen.note(told)
