"""Signatures of callbacks, as Standard Webhooks 1.0 lays down: HMAC-SHA256 over id, time and body.

An endpoint has one live secret, or two while it is being rotated; a delivery bears a signature
by each, and a receiver that knows either accepts it.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping

from streams.errors import ConfigError, Rejected

PREFIX = "whsec_"
KEY_BYTES = 32
KEY_MIN_BYTES, KEY_MAX_BYTES = 24, 64
TOLERANCE_S = 300
SIGNATURES_MAX = 16  # of one delivery; more are not looked at
CALLBACK_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
TIMESTAMP = re.compile(r"[0-9]{1,12}")


class BadSignature(Rejected):
    """A delivery is not signed by any of the secrets, too old, or malformed."""

    code = "bad_signature"


def new_secret() -> str:
    """A fresh secret: `whsec_` and 32 random bytes in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def secret_key(secret: str) -> bytes:
    """The bytes of a secret. Raises ConfigError, without quoting it, unless they are 24 to 64."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX).encode(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConfigError(f"a secret is {PREFIX} and base64") from error
    if not secret.startswith(PREFIX) or not KEY_MIN_BYTES <= len(key) <= KEY_MAX_BYTES:
        raise ConfigError(f"a secret is {PREFIX} and {KEY_MIN_BYTES} to {KEY_MAX_BYTES} bytes")
    return key


def sign(
    live_secrets: Iterable[str], callback_id: str, timestamp_s: int, body: bytes
) -> dict[str, str]:
    """The three headers of one delivery, signed by each of `live_secrets`.

    Raises ConfigError for a secret that is none, or without any.
    """
    if not CALLBACK_ID.fullmatch(callback_id):
        raise ValueError(f"not a callback id: {callback_id!r}")
    keys = [secret_key(secret) for secret in live_secrets]
    if not keys:
        raise ConfigError("there is no secret to sign with")
    return {
        "webhook-id": callback_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(
            f"v1,{_digest(key, callback_id, str(timestamp_s), body)}" for key in keys
        ),
    }


def verify(
    live_secrets: Iterable[str], headers: Mapping[str, str], body: bytes, *, now_s: float
) -> str:
    """Check a delivery and return its webhook-id. Header names are looked up in lower case.

    Raises BadSignature for whatever a sender may have done wrong, and nothing else for it;
    ConfigError for our own secrets. Tolerates five minutes between the clocks.
    """
    callback_id = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    if not CALLBACK_ID.fullmatch(callback_id) or not TIMESTAMP.fullmatch(timestamp):
        raise BadSignature("webhook-id or webhook-timestamp is missing or malformed")
    if abs(now_s - int(timestamp)) > TOLERANCE_S:
        raise BadSignature(f"signed more than {TOLERANCE_S} s away from now")
    expected = [
        _digest(secret_key(secret), callback_id, timestamp, body).encode()
        for secret in live_secrets
    ]
    given = [
        signature.encode(errors="replace")
        for version, _, signature in (
            part.partition(",") for part in headers.get("webhook-signature", "").split(" ")
        )
        if version == "v1"
    ][:SIGNATURES_MAX]
    # Every pair is compared, so that the time taken tells nothing about which one fits.
    matches = [hmac.compare_digest(ours, theirs) for ours in expected for theirs in given]
    if not any(matches):
        raise BadSignature("no signature fits any live secret")
    return callback_id


def _digest(key: bytes, callback_id: str, timestamp: str, body: bytes) -> str:
    signed = f"{callback_id}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
