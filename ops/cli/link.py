"""`roughneck link`: whether the VPN's peers are there."""

import signal
import threading

import click

from ops.cli.screen import Row, duration
from ops.cli.session import Command, Session, pass_session
from ops.wireguard import LinkMetrics, PeerLink, peers
from streams.clock import SystemClock
from streams.errors import Unavailable

MIB = 1_048_576

EXAMPLES = """\b
Examples:
  roughneck link
  roughneck link --metrics-host 10.88.0.1 --metrics-port 9465"""


@click.command(cls=Command, epilog=EXAMPLES)
@click.option("--metrics-port", type=click.IntRange(1, 65_535), help="Answer Prometheus there.")
@click.option(
    "--metrics-host", default="127.0.0.1", show_default=True, help="Address of these metrics."
)
@pass_session
def link(session: Session, /, metrics_port: int | None, metrics_host: str) -> None:
    """When each peer of WireGuard last shook hands (exit 3 if one is silent for over 3 minutes).

    Needs root, or CAP_NET_ADMIN.
    """
    if metrics_port:
        _serve(session, metrics_host, metrics_port)
        return
    found = peers(SystemClock().now_ms() / 1_000)
    session.screen.show(found, [_row(one) for one in found], empty="WireGuard has no peers here")
    silent = [one.peer for one in found if not one.alive]
    if silent:
        raise Unavailable(f"silent: {', '.join(silent)}")


def _serve(session: Session, host: str, port: int) -> None:
    stop = LinkMetrics().serve(host, port)
    session.screen.note(f"metrics of the link are at http://{host}:{port}/metrics")
    told = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: told.set())
    told.wait()
    stop()


def _row(one: PeerLink) -> Row:
    age = one.handshake_age_s
    return {
        "DEVICE": one.device,
        "PEER": one.peer,
        "STATE": "ok" if one.alive else "silent",
        "HANDSHAKE": "never" if age is None else f"{duration(age * 1_000)} ago",
        "RECEIVED": f"{one.received_bytes / MIB:.1f} MiB",
        "SENT": f"{one.sent_bytes / MIB:.1f} MiB",
    }
