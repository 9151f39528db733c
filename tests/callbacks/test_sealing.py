"""Secrets at rest: sealed under a key from a file, bound to their endpoint, opened by every key."""

import asyncio
import stat
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis

from gateway.registrar import Registrar
from gateway.sealing import SealKeyMissing, Seals
from gateway.signing import new_secret
from streams.callbacks import CallbackState
from streams.directory import Endpoint
from streams.errors import ConfigError
from streams.model import State
from tests.callbacks.office import Office
from tests.support.waiting import until
from tests.web.local_server import local_server, response


@pytest.fixture
def seals(tmp_path: Path) -> Seals:
    made = Seals(tmp_path / "keys" / "secrets.key")
    made.ensure()
    return made


def endpoint(*secrets: str, until_ms: int = 0) -> Endpoint:
    return Endpoint("ep_1", "etyde", "https://a.example/", secrets, (State.DEAD,), 1, until_ms)


def test_what_is_sealed_says_nothing_and_opens_again(seals: Seals) -> None:
    secret = new_secret()
    first, second = seals.seal(secret, "ep_1"), seals.seal(secret, "ep_1")
    assert first != second
    assert secret.removeprefix("whsec_") not in first
    assert {seals.open(first, "ep_1"), seals.open(second, "ep_1")} == {secret}
    assert Seals(seals.path).open(first, "ep_1") == secret, "another process with the same file"


def test_the_file_is_for_its_owner_and_made_once(seals: Seals) -> None:
    assert stat.S_IMODE(seals.path.stat().st_mode) == 0o600
    before = seals.path.read_bytes()
    Seals(seals.path).ensure()
    assert seals.path.read_bytes() == before


async def test_many_that_start_at_once_end_with_one_key(tmp_path: Path) -> None:
    path = tmp_path / "secrets.key"
    made = [Seals(path) for _ in range(16)]
    await asyncio.gather(*(asyncio.to_thread(one.ensure) for one in made))
    sealed = [one.seal("whsec_x", "ep_1") for one in made]
    assert {Seals(path).open(text, "ep_1") for text in sealed} == {"whsec_x"}
    assert len({text.split(".")[2] for text in sealed}) == 1


def test_a_sealed_secret_is_bound_to_its_endpoint_and_to_its_bytes(seals: Seals) -> None:
    sealed = seals.seal(new_secret(), "ep_1")
    with pytest.raises(ConfigError, match="was changed"):
        seals.open(sealed, "ep_2")
    flipped = sealed[:-6] + ("A" if sealed[-6] != "A" else "B") + sealed[-5:]
    for text in (flipped, sealed[:60], sealed.replace("sealed.v1", "sealed.v9"), "", "x"):
        with pytest.raises(ConfigError):
            seals.open(text, "ep_1")


def test_a_new_key_seals_and_the_old_one_opens_on(seals: Seals) -> None:
    secret = new_secret()
    other = Seals(seals.path)
    old = other.seal(secret, "ep_1")
    key_id = seals.add_key()
    assert stat.S_IMODE(seals.path.stat().st_mode) == 0o600
    assert seals.open(old, "ep_1") == other.open(old, "ep_1") == secret
    assert f".{key_id}." in other.seal(secret, "ep_1"), "read again without a restart"
    resealed = other.resealed(endpoint(old))
    assert f".{key_id}." in resealed.secrets[0]
    assert other.resealed(resealed) is resealed


def test_without_the_key_the_error_says_which_and_what_to_do(seals: Seals, tmp_path: Path) -> None:
    sealed = seals.seal(new_secret(), "ep_1")
    elsewhere = Seals(tmp_path / "other.key")
    with pytest.raises(SealKeyMissing, match=r"other\.key cannot be read: copy it"):
        elsewhere.open(sealed, "ep_1")
    elsewhere.ensure()
    with pytest.raises(SealKeyMissing, match=f"key {sealed.split('.')[2]} is not in"):
        elsewhere.open(sealed, "ep_1")
    elsewhere.path.write_text("# nothing\n")
    with pytest.raises(SealKeyMissing, match="there is no key"):
        elsewhere.seal("whsec_x", "ep_1")


@pytest.mark.parametrize("line", ["k c2hvcnQ=", "k !!!", "0123456789abcdef " + "A" * 43 + "="])
def test_a_damaged_key_file_is_an_error_that_does_not_quote_it(tmp_path: Path, line: str) -> None:
    seals = Seals(tmp_path / "secrets.key")
    seals.path.write_text(line + "\n")
    with pytest.raises(ConfigError) as caught:
        seals.seal("whsec_x", "ep_1")
    assert line.split()[1] not in str(caught.value)


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"the key file .*secrets\.key"):
        Seals(tmp_path / "file" / "secrets.key").ensure()


def test_the_previous_secret_counts_until_its_time(seals: Seals) -> None:
    new, old = new_secret(), new_secret()
    plain = endpoint(new, old, until_ms=1_000)
    assert seals.live(plain, 999) == (new, old)
    assert seals.live(plain, 1_000) == (new,)
    assert seals.live(endpoint(new, old), 10**15) == (new, old), "of before there was an end"


async def test_secrets_of_before_are_sealed_at_the_next_write_and_go_on_signing(
    redis: Redis,
) -> None:
    office = Office(redis)
    async with local_server(response(200)) as server:
        plain = await office.endpoint(server.origin)
        await office.endpoints.put(plain)
        assert b"whsec_" in await redis.hget("{rn}:endpoints", "ep_1")
        async with office.courier(server):
            await office.end_job(server.origin)
            await office.the_callback(CallbackState.DELIVERED)
        registrar = Registrar(office.store, office.seals)
        await registrar.change("ep_1", ordered=True)
        stored = await office.endpoints.get("ep_1")
        assert stored is not None
        assert b"whsec_" not in await redis.hget("{rn}:endpoints", "ep_1")
        assert office.seals.live(stored, 0) == plain.secrets
        office.seals.add_key()
        assert (await registrar.reseal(), await registrar.reseal()) == (1, 0)


async def test_without_the_key_callbacks_wait_and_go_when_it_is_there(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    office = Office(redis)
    async with local_server(response(200)) as server:
        await office.endpoint(server.origin)
        key = office.seals.path.read_bytes()
        office.seals.path.unlink()
        async with office.courier(server):
            await office.record(server.origin, count=3)
            await until(lambda: len(office.reports) >= 9, what="three rounds without the key")
            assert server.received == []
            views = await office.callbacks()
            assert {(view.state, view.tries) for view in views} <= {
                (CallbackState.WAITING, 0),
                (CallbackState.WAITING, 1),
            }
            office.seals.path.write_bytes(key)
            await until(lambda: len(server.received) == 3, what="all three")
    said = [one.getMessage() for one in caplog.records]
    assert "callbacks wait for the key that opens secrets" in said
    assert {report.attempt for report in office.reports} == {1}


async def test_a_rotation_while_callbacks_are_tried_again(redis: Redis) -> None:
    """Old attempts were signed by the old secret, new ones by both, then by the new one alone."""
    office = Office(redis)
    async with local_server(response(500)) as server:
        made = await office.endpoint(server.origin)
        registrar = Registrar(office.store, office.seals, overlap_s=0.4)
        async with office.courier(server, schedule_s=(0.0, *[0.05] * 200), breaker_failures=1_000):
            await office.end_job(server.origin)
            await until(lambda: server.received, what="the first attempt")
            rotated = await registrar.rotate("ep_1")
            assert rotated is not None
            signatures = [1, 2, 1]  # live secrets, as attempts see them
            await until(lambda: steps(server.received) == signatures, what="the old one to end")
    assert made.secrets[0] != rotated[1]
    assert msgspec.json.decode(server.received[0].body)["type"] == "job.succeeded"


def steps(received: object) -> list[int]:
    """How many signatures requests bore, each number once as long as it stays."""
    found: list[int] = []
    for request in received:  # type: ignore[attr-defined]
        count = len(request.headers["webhook-signature"].split())
        if not found or found[-1] != count:
            found.append(count)
    return found
