"""`roughneck models`: where each model is, what is in memory, what loading and answering takes."""

from datetime import timedelta

import click

from gateway.models import DAYS, HostDetail, ModelDetail, ModelsView, models_view
from ops.cli.screen import Row
from ops.cli.session import Command, Session, pass_session
from ops.links import Engine
from streams.clock import SystemClock
from streams.learned import read_learned
from streams.usage import day_of


@click.command(
    cls=Command, epilog="\b\nExamples:\n  roughneck models\n  roughneck models --hosts -o json"
)
@click.option("--hosts", is_flag=True, help="A line for each host instead of each model.")
@pass_session
def models(session: Session, /, hosts: bool) -> None:
    """Models: hosts, what is in memory, jobs that wait, loads and speed of the last 7 days."""

    async def act(engine: Engine) -> ModelsView:
        today = day_of(SystemClock().now_ms())
        return models_view(
            await engine.directory.workers(),
            await engine.inspector.classes(),
            await read_learned(engine.redis, engine.keyspace),
            await engine.usage.rows(today - timedelta(days=DAYS - 1), today),
        )

    view = session.with_engine(act)
    rows = [_host(host) for host in view.hosts] if hosts else [_model(one) for one in view.models]
    none = "no worker of class ollama lives" if hosts else "no worker has a model, no job needs one"
    session.screen.show(view, rows, empty=none)
    if not hosts and not session.screen.as_json:
        for host in view.hosts:
            if host.trouble:
                session.screen.note(f"host {host.name}: {host.trouble}")


def _model(one: ModelDetail) -> Row:
    return {
        "MODEL": one.alias,
        "WAITING": one.waiting,
        "HOSTS": ", ".join(one.hosts) or "none",
        "IN MEMORY": ", ".join(one.resident_on),
        "LOAD": f"{one.load_s:.1f} s" if one.load_s is not None else "",
        "SWAPS": one.swaps,
        "ASKS": one.asks,
        "TOKENS/S": one.tokens_per_s or "",
    }


def _host(host: HostDetail) -> Row:
    resting = [model.alias for model in host.models if model.resting]
    return {
        "HOST": host.name,
        "STATE": "failing" if host.trouble else "ok",
        "VERSION": host.version,
        "WORKERS": host.workers,
        "IN MEMORY": host.resident,
        "MODELS": ", ".join(f"{model.alias} ({model.tag})" for model in host.models),
        "RESTING": ", ".join(resting),
        "TROUBLE": host.trouble,
    }
