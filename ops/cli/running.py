"""Commands that keep running: the platform as a whole, and each of its processes alone."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import uvloop
from mode import Service

from ops.cli.session import Command, Session, pass_session
from ops.embedded import EmbeddedRedis
from ops.links import open_redis
from ops.running import hold_lifeline, run_services, serve
from ops.safety import Severity, concerns, survey
from ops.settings import child_environment, hide_password
from ops.up import Child, RedisWatch, kill_all
from streams.errors import ConfigError, Unavailable
from streams.model import ResourceClass
from streams.scripts import translated

if TYPE_CHECKING:
    from ops.sim_ollama import SimServer

log = logging.getLogger(__name__)

CLASSES = click.Choice([str(name) for name in ResourceClass])

lifeline = click.option("--lifeline", is_flag=True, hidden=True)  # stop when stdin ends
port = click.option("--port", type=click.IntRange(0, 65_535), help="Port of the gateway.")
serves = click.option(
    "--class",
    "classes",
    multiple=True,
    type=CLASSES,
    help="Serve this class; repeat it. Default: io, cpu, and ollama where one answers.",
)


@click.command(
    cls=Command,
    epilog="\b\nExamples:\n  roughneck up\n  roughneck --redis redis://10.8.0.1/0 up --class io",
)
@click.option("--host", help="Address that the gateway listens on; default 127.0.0.1.")
@port
@serves
@pass_session
def up(session: Session, host: str | None, port: int | None, classes: tuple[str, ...]) -> None:
    """Start Redis (unless --redis names one), the gateway with its courier, and a worker.

    Everything stops together with Ctrl-C; jobs under way are finished first.
    """
    session.give(gateway__host=host, gateway__port=port, worker__classes=classes)
    session.configure_logs()
    if session.settings.redis.url:
        uvloop.run(_up(session, None))
        return
    settings = session.settings.redis
    server = EmbeddedRedis(Path(settings.folder), memory_max_mb=settings.memory_max_mb)
    with server:
        session.give(redis__url=server.url)
        session.screen.note(_about(server))
        uvloop.run(_up(session, server))


@click.command(cls=Command, epilog="\b\nExample:\n  roughneck gateway --host 10.8.0.1 --port 8470")
@click.option("--host", help="Address to listen on; default 127.0.0.1.")
@port
@click.option("--no-courier", is_flag=True, help="Deliver no callbacks; run `roughneck courier`.")
@lifeline
@pass_session
def gateway(
    session: Session, host: str | None, port: int | None, no_courier: bool, lifeline: bool
) -> None:
    """Serve the HTTP API, and deliver callbacks."""
    from ops.wiring import build_gateway, can_start_alone

    session.give(gateway__host=host, gateway__port=port)
    session.configure_logs()
    settings = session.settings
    try:
        uvloop.run(_check_redis(session))
    except Unavailable as error:
        if not can_start_alone(settings):
            raise
        session.screen.note(f"{error}; until it does, jobs are spooled")
    run_services(lambda: build_gateway(settings, with_courier=not no_courier), lifeline=lifeline)


@click.command(
    cls=Command, epilog="\b\nExamples:\n  roughneck worker --class ollama\n  roughneck worker"
)
@serves
@lifeline
@pass_session
def worker(session: Session, classes: tuple[str, ...], lifeline: bool) -> None:
    """Run jobs until told to stop; then finish those under way."""
    from ops.worker_process import WorkerProcess

    session.give(worker__classes=classes)
    session.configure_logs()
    settings = session.settings
    run_services(lambda: [WorkerProcess(settings)], lifeline=lifeline)


@click.command(cls=Command, epilog="\b\nExample:\n  roughneck courier")
@lifeline
@pass_session
def courier(session: Session, lifeline: bool) -> None:
    """Deliver callbacks, beside a gateway that was told not to."""
    from ops.wiring import build_courier_alone

    session.configure_logs()
    settings = session.settings
    run_services(lambda: build_courier_alone(settings), lifeline=lifeline)


@click.command("sim-ollama", cls=Command, epilog="\b\nExample:\n  roughneck sim-ollama --speed 20")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=11_434,
    show_default=True,
    type=click.IntRange(0, 65_535),
    help="Port to listen on; 0 for any that is free.",
)
@click.option("--speed", default=1.0, show_default=True, help="Divide every wait by this.")
@lifeline
@pass_session
def sim_ollama(session: Session, host: str, port: int, speed: float, lifeline: bool) -> None:
    """Speak Ollama's protocol with made-up answers, at the pace of a real machine."""
    from ops.sim_ollama import SimConfig, SimServer

    session.configure_logs()
    try:
        server = SimServer(host, port, SimConfig(speed=speed))
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    session.screen.note(f"a simulated Ollama listens on {server.url}")
    asyncio.run(_simulate(server, lifeline=lifeline))


async def _simulate(server: "SimServer", *, lifeline: bool) -> None:
    if lifeline:
        hold_lifeline(server.stop)
    await server.run()


async def _up(session: Session, server: EmbeddedRedis | None) -> None:
    if server is None:
        await _check_redis(session)
    environment = child_environment(session.given)
    services: list[Service] = [] if server is None else [RedisWatch(server)]
    files = ["--settings", str(session.path)] if session.path else []
    for name in ("gateway", "worker"):
        services.append(Child(name, [*files, name], environment))

    def build() -> list[Service]:
        return services

    abort: Callable[[], None] = kill_all(services)
    await serve(build, on_abort=abort)


async def _check_redis(session: Session) -> None:
    """Say what is unsafe about a server that somebody else runs; refuse what cannot work."""
    settings = session.settings.redis
    async with open_redis(settings, "check", connections_max=1) as redis:
        with translated():
            report = await survey(redis)
    for concern in concerns(report):
        if concern.severity is Severity.REFUSED:
            raise ConfigError(f"{hide_password(settings.url)}: {concern.sentence}")
        if settings.url.startswith("unix:"):
            continue  # our own, which is as it is on purpose
        concerned = {"concern": concern.sentence}
        if concern.severity is Severity.UNSAFE:
            log.warning("Redis is unsafe", extra=concerned)
        else:
            log.info("Redis could be set up better", extra=concerned)


def _about(server: EmbeddedRedis) -> str:
    if server.guest:
        return f"using the Redis that another process runs in {server.folder}"
    if server.adopted:
        return f"adopted the Redis {server.pid} that lived in {server.folder}"
    return f"Redis keeps its data in {server.folder}"
