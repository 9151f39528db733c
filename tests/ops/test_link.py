"""The VPN's peers, from what wg prints."""

import pytest
from prometheus_client import generate_latest

from ops.cli.program import run
from ops.wireguard import LinkMetrics, PeerLink, peers
from streams.clock import SystemClock
from streams.errors import ConfigError, Unavailable

SAID = {
    "latest-handshakes": "wg0\tAAAA=\t1000\nwg0\tBBBB=\t0\nwg1\tCCCC=\t700\n",
    "transfer": "wg0\tAAAA=\t2048\t4096\nwg0\tBBBB=\t0\t0\nwg1\tCCCC=\t1\t2\n",
    "allowed-ips": "wg0\tAAAA=\t10.88.0.2/32\nwg0\tBBBB=\t(none)\n"
    "wg1\tCCCC=\t10.9.0.2/32 fd::2/128\n",
}


class At(SystemClock):
    """A clock that stands."""

    def now_ms(self) -> int:
        return 1_060_000


def test_peers_are_told_by_address_with_their_age() -> None:
    found = peers(1_060.2, SAID.__getitem__)
    assert found == [
        PeerLink("wg0", "(none)", None, 0, 0),
        PeerLink("wg0", "10.88.0.2/32", 60, 2048, 4096),
        PeerLink("wg1", "10.9.0.2/32, fd::2/128", 360, 1, 2),
    ]
    assert [link.alive for link in found] == [False, True, False]
    assert peers(1.0, lambda what: "") == []


def test_metrics_tell_each_peer_and_whether_wireguard_answers() -> None:
    text = generate_latest(LinkMetrics(SAID.__getitem__, At()).registry).decode()
    place = 'device="wg0",peer="10.88.0.2/32"'
    assert f"roughneck_link_handshake_age_seconds{{{place}}} 60.0" in text
    assert f"roughneck_link_received_bytes_total{{{place}}} 2048.0" in text
    assert "roughneck_link_known 1.0" in text
    assert 'age_seconds{device="wg0",peer="(none)"}' not in text


@pytest.mark.parametrize("error", [ConfigError("no wg"), Unavailable("refused")])
def test_a_wireguard_that_does_not_answer_is_a_metric(error: Exception) -> None:
    def refuse(what: str) -> str:
        raise error

    text = generate_latest(LinkMetrics(refuse).registry).decode()
    assert "roughneck_link_known 0.0" in text
    assert "handshake" not in text


def test_without_wireguard_the_command_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert run(["link"]) == 2
    assert "wg is not installed" in capsys.readouterr().err
