"""`roughneck usage`: what models were used for, in sums."""

from datetime import date, datetime

import click

from gateway.usage import EVERY, UsageSum, UsageView, parse_by, span_of
from ops.cli.screen import Row, duration
from ops.cli.session import Command, Session, app_option, pass_session
from ops.links import Engine
from streams.clock import SystemClock
from streams.usage import day_of

DAY = click.DateTime(["%Y-%m-%d"])


@click.command(
    cls=Command,
    epilog="\b\nExamples:\n  roughneck usage\n  roughneck usage --by app,model --from 2026-11-01\n"
    "  roughneck usage --by day --app web -o json",
)
@click.option("--from", "first", type=DAY, help="First day (UTC); default: 30 days up to --to.")
@click.option("--to", "last", type=DAY, help="Last day (UTC), included; default: today.")
@click.option("--by", default="day,app,model", show_default=True, help=f"Some of {EVERY}; or none.")
@app_option()
@pass_session
def usage(
    session: Session, /, first: datetime | None, last: datetime | None, by: str, app: str | None
) -> None:
    """Tokens, seconds and loads of models, by day, app, processor and model."""
    today = day_of(SystemClock().now_ms())
    span = span_of(_day(first), _day(last), today)
    apart = parse_by(by)

    async def act(engine: Engine) -> UsageView:
        return UsageView.of(*span, await engine.usage.rows(*span, app), apart)

    view = session.with_engine(act)
    rows = [{**_parts(one), **sum_row(one)} for one in view.rows]
    if len(rows) > 1:
        heads = dict.fromkeys(_parts(view.rows[0]), "")
        heads.update(dict.fromkeys([*heads][:1], "total"))
        rows.append({**heads, **sum_row(view.total)})
    session.screen.show(view, rows, empty=f"no model was used from {view.first} to {view.last}")


def _day(moment: datetime | None) -> date | None:
    return moment.date() if moment else None


def _parts(one: UsageSum) -> Row:
    parts = {"DAY": one.day, "APP": one.app, "PROCESSOR": one.processor, "MODEL": one.model}
    return {name: value for name, value in parts.items() if value is not None}


def sum_row(one: UsageSum) -> dict[str, object]:
    """The figures of a sum, in columns."""
    return {
        "ASKS": one.asks,
        "REPAIRS": one.repairs,
        "CACHED": one.cached,
        "PROMPT": one.prompt_tokens,
        "COMPLETION": one.completion_tokens,
        "EVAL": duration(one.eval_s * 1_000),
        "TOKENS/S": one.tokens_per_s,
        "SWAPS": one.swaps,
        "LOAD": duration(one.load_s * 1_000),
    }
