"""What WireGuard says of its peers, for people and for Prometheus.

Asks `wg show all` for handshakes, transfer and addresses, and never for its dump, which holds keys.
A peer that is there shakes hands at least every two to three minutes as long as anything passes,
and the one at home sends something every 25 s: older than that is a dead link.
"""

import subprocess
from collections.abc import Callable, Iterable, Sequence

import msgspec
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from streams.clock import Clock, SystemClock
from streams.errors import ConfigError, Unavailable

STALE_S = 180  # REJECT_AFTER_TIME: nothing is sent under older keys (WireGuard paper, section 6)
ANSWER_S = 5.0
ASKED = ("latest-handshakes", "transfer", "allowed-ips")


class PeerLink(msgspec.Struct, frozen=True):
    """One peer. `handshake_age_s` is None before the first handshake."""

    device: str
    peer: str  # its addresses in the VPN
    handshake_age_s: int | None
    received_bytes: int
    sent_bytes: int

    @property
    def alive(self) -> bool:
        """Whether it shook hands lately."""
        return self.handshake_age_s is not None and self.handshake_age_s <= STALE_S


Ask = Callable[[str], str]


def asked(what: str) -> str:
    """What `wg show all WHAT` prints. Raises ConfigError without wg, Unavailable when it fails."""
    try:
        ran = subprocess.run(
            ["wg", "show", "all", what],
            capture_output=True,
            text=True,
            check=False,
            timeout=ANSWER_S,
        )
    except FileNotFoundError as error:
        raise ConfigError("wg is not installed (wireguard-tools)") from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable("wg does not answer") from error
    if ran.returncode:
        said = ran.stderr.strip() or "it may be run by root, or with CAP_NET_ADMIN"
        raise Unavailable(f"wg show: {said}")
    return ran.stdout


def peers(now_s: float, ask: Ask = asked) -> list[PeerLink]:
    """Every peer of every device, by device and address. Raises ConfigError, Unavailable."""
    shaken, moved, places = (_rows(ask(what)) for what in ASKED)
    found = []
    for key, (at, *_) in shaken.items():
        received, sent = moved.get(key, ("0", "0"))
        age = max(0, round(now_s) - int(at)) if int(at) else None
        where = ", ".join(places.get(key, ())) or key[1][:8]
        found.append(PeerLink(key[0], where, age, int(received), int(sent)))
    return sorted(found, key=lambda link: (link.device, link.peer))


def _rows(text: str) -> dict[tuple[str, str], Sequence[str]]:
    """Device and public key → what stands behind them."""
    lines = (line.split() for line in text.splitlines())
    return {(device, key): values for device, key, *values in lines}


class LinkMetrics:
    """Asks at each scrape; a failure is a metric too."""

    def __init__(self, ask: Ask = asked, clock: Clock | None = None) -> None:
        self._ask = ask
        self._clock = clock or SystemClock()
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """The metrics, as they are now."""
        age = GaugeMetricFamily(
            "roughneck_link_handshake_age_seconds",
            "Since this peer of the VPN last shook hands; absent before the first time.",
            labels=("device", "peer"),
        )
        received = CounterMetricFamily(
            "roughneck_link_received_bytes",
            "Received from this peer of the VPN.",
            labels=("device", "peer"),
        )
        sent = CounterMetricFamily(
            "roughneck_link_sent_bytes",
            "Sent to this peer of the VPN.",
            labels=("device", "peer"),
        )
        answers = GaugeMetricFamily("roughneck_link_known", "1 while WireGuard answers.")
        try:
            links = peers(self._clock.now_ms() / 1_000, self._ask)
        except (ConfigError, Unavailable):
            answers.add_metric((), 0)
            return [answers]
        answers.add_metric((), 1)
        for link in links:
            place = (link.device, link.peer)
            if link.handshake_age_s is not None:
                age.add_metric(place, link.handshake_age_s)
            received.add_metric(place, link.received_bytes)
            sent.add_metric(place, link.sent_bytes)
        return [answers, age, received, sent]

    def serve(self, host: str, port: int) -> Callable[[], None]:
        """Answer scrapes from a thread of its own; the answer stops it. Raises ConfigError."""
        try:
            server, thread = start_http_server(port, addr=host, registry=self.registry)
        except OSError as error:
            raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}") from error

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return stop
