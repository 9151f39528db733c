"""From where a request comes, and whether nobody stands between."""

import pytest
from starlette.types import Scope

from gateway.peer import address_of, is_local, lies_in, networks
from streams.errors import ConfigError

TRUSTED = networks(["127.0.0.1", "10.8.0.0/24", "fd00::/8"], "$.x")


def scope(peer: str, *headers: tuple[str, str], version: str = "1.1") -> Scope:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    client = (peer, 1) if peer else None
    return {"type": "http", "client": client, "headers": raw, "http_version": version}


def forwarded(*values: str) -> list[tuple[str, str]]:
    return [("x-forwarded-for", value) for value in values]


@pytest.mark.parametrize(
    ("peer", "headers", "address"),
    [
        ("192.0.2.7", [], "192.0.2.7"),
        ("192.0.2.7", forwarded("203.0.113.1"), "192.0.2.7"),  # anyone may say so
        ("127.0.0.1", forwarded("203.0.113.1"), "203.0.113.1"),
        ("127.0.0.1", forwarded("198.51.100.9, 203.0.113.1"), "203.0.113.1"),
        ("127.0.0.1", forwarded("203.0.113.1, 10.8.0.4"), "203.0.113.1"),
        ("127.0.0.1", forwarded("203.0.113.1", "10.8.0.4"), "203.0.113.1"),
        ("127.0.0.1", forwarded("10.8.0.3, 10.8.0.4"), "10.8.0.3"),
        ("127.0.0.1", forwarded("junk"), "127.0.0.1"),
        ("127.0.0.1", forwarded("203.0.113.1, junk"), "127.0.0.1"),
        ("127.0.0.1", forwarded(""), "127.0.0.1"),
        ("127.0.0.1", forwarded("1.2.3.4," * 5_000 + "10.8.0.4"), "1.2.3.4"),
        ("::ffff:127.0.0.1", forwarded("2001:db8::1"), "2001:db8::1"),
        ("fd00::5%eth0", forwarded("203.0.113.1"), "203.0.113.1"),
        ("", forwarded("203.0.113.1"), ""),
        ("testclient", [], ""),
    ],
)
def test_the_address_of_a_client(peer: str, headers: list[tuple[str, str]], address: str) -> None:
    assert address_of(scope(peer, *headers), TRUSTED) == address


@pytest.mark.parametrize(
    ("peer", "host", "local"),
    [
        ("127.0.0.1", "127.0.0.1:8470", True),
        ("127.8.9.1", "localhost", True),
        ("::1", "[::1]:8470", True),
        ("::ffff:127.0.0.1", "LOCALHOST:1", True),
        ("192.0.2.7", "127.0.0.1:8470", False),
        ("127.0.0.1", "roughneck.example", False),  # a proxy that keeps the name
        ("127.0.0.1", "localhost.example", False),
        ("127.0.0.1", "192.0.2.1:8470", False),
        ("127.0.0.1", "", False),
        ("", "localhost", False),
    ],
)
def test_local_is_who_asks_this_machine_by_its_own_name(peer: str, host: str, local: bool) -> None:
    assert is_local(scope(peer, ("host", host))) is local


@pytest.mark.parametrize(
    "name",
    [
        *("forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip"),
        *("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "X-Forwarded-Anything"),
    ],
)
def test_a_header_of_a_proxy_is_not_local(name: str) -> None:
    assert is_local(scope("127.0.0.1", ("host", "localhost")))
    assert not is_local(scope("127.0.0.1", ("host", "localhost"), (name.lower(), "")))


def test_nginx_untold_speaks_http_1_0_and_is_not_local() -> None:
    assert not is_local(scope("127.0.0.1", ("host", "127.0.0.1:8470"), version="1.0"))


def test_networks_are_named_when_they_are_wrong() -> None:
    assert lies_in("10.8.0.77", TRUSTED)
    assert not lies_in("", TRUSTED)
    with pytest.raises(ConfigError, match=r"\$\.gateway\.trusted_proxies"):
        networks(["10.8.0.1/24"], "$.gateway.trusted_proxies")
