"""Signatures, compared with the `standardwebhooks` package, which receivers use."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from gateway.signing import BadSignature, new_secret, secret_key, sign, verify
from streams.errors import ConfigError

NOW_S = 1_795_000_000
KEYS = st.binary(min_size=24, max_size=64)
IDS = st.from_regex(r"[A-Za-z0-9_-]{1,128}", fullmatch=True)
BODY = b'{"type":"job.succeeded"}'


def secret_of(key: bytes) -> str:
    return "whsec_" + base64.b64encode(key).decode()


@given(KEYS, IDS, st.integers(0, 2**33), st.text())
def test_we_sign_as_the_reference_does(key: bytes, id_: str, at_s: int, text: str) -> None:
    headers = sign([secret_of(key)], id_, at_s, text.encode(errors="replace"))
    moment = datetime.fromtimestamp(at_s, UTC)
    reference = Webhook(secret_of(key)).sign(id_, moment, text.encode(errors="replace").decode())
    assert headers["webhook-signature"] == reference


@given(KEYS, KEYS, IDS, st.binary())
def test_either_secret_of_a_rotation_verifies(
    old: bytes, new: bytes, id_: str, body: bytes
) -> None:
    headers = sign([secret_of(new), secret_of(old)], id_, NOW_S, body)
    for key in (old, new):
        assert verify([secret_of(key)], headers, body, now_s=NOW_S) == id_


@given(KEYS, IDS, st.binary(min_size=1), st.data())
def test_one_changed_bit_is_noticed(key: bytes, id_: str, body: bytes, data: st.DataObject) -> None:
    headers = sign([secret_of(key)], id_, NOW_S, body)
    at = data.draw(st.integers(0, len(body) - 1))
    changed = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
    with pytest.raises(BadSignature):
        verify([secret_of(key)], headers, changed, now_s=NOW_S)


@given(
    st.dictionaries(
        st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]),
        st.text() | st.just(str(NOW_S)) | st.text().map(lambda t: f"v1,{t} v1a,x {t}"),
    ),
    st.binary(),
)
def test_malformed_headers_raise_one_error(headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(BadSignature):
        verify([secret_of(b"k" * 32)], headers, body, now_s=NOW_S)


def test_junk_before_a_good_signature_does_not_spoil_it() -> None:
    secret = new_secret()
    headers = sign([secret], "msg_1", NOW_S, BODY)
    headers["webhook-signature"] = f"v1a,xx junk v1,é {headers['webhook-signature']}"
    assert verify([secret], headers, BODY, now_s=NOW_S) == "msg_1"


@pytest.mark.parametrize(
    ("seconds", "good"), [(300, True), (-300, True), (301, False), (-301, False)]
)
def test_the_clocks_may_differ_by_five_minutes(seconds: int, good: bool) -> None:
    secret = new_secret()
    headers = sign([secret], "msg_1", NOW_S, BODY)
    if good:
        verify([secret], headers, BODY, now_s=NOW_S + seconds)
    else:
        with pytest.raises(BadSignature, match="300 s"):
            verify([secret], headers, BODY, now_s=NOW_S + seconds)


@pytest.mark.parametrize(
    "timestamp", ["", "-1", "1_795_000_000", "1795000000.5", "١٧٩٥", " 1795000000"]
)
def test_a_timestamp_is_plain_digits(timestamp: str) -> None:
    secret = new_secret()
    headers = sign([secret], "msg_1", NOW_S, BODY) | {"webhook-timestamp": timestamp}
    with pytest.raises(BadSignature):
        verify([secret], headers, BODY, now_s=NOW_S)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "whsec_!!!!",
        secret_of(b"k" * 23),
        secret_of(b"k" * 65),
        secret_of(b"k" * 32).removeprefix("whsec_"),
        secret_of(b"k" * 32) + "é",
    ],
)
def test_a_secret_that_is_none_is_refused_and_not_quoted(secret: str) -> None:
    with pytest.raises(ConfigError) as caught:
        secret_key(secret)
    assert secret.removeprefix("whsec_") not in str(caught.value) or len(secret) < 8


def test_new_secrets_differ_and_have_256_bits() -> None:
    first, second = new_secret(), new_secret()
    assert first != second
    assert len(secret_key(first)) == 32


def test_nothing_is_signed_without_a_secret_or_with_a_dotted_id() -> None:
    with pytest.raises(ConfigError):
        sign([], "msg_1", NOW_S, BODY)
    with pytest.raises(ValueError, match="callback id"):
        sign([new_secret()], "msg.1", NOW_S, BODY)
