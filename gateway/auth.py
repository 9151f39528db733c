"""Who is asking: bearer keys `rn_<id>_<secret>`, their scopes, and what they may see.

A key's secret has 256 random bits and only its SHA-256 is stored, so a slow hash would add
nothing. Whatever is wrong with a key, the answer is one and the same, and as late.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from enum import StrEnum

import msgspec

from gateway.mirror import Mirror
from gateway.peer import lies_in, networks
from streams.clock import Clock
from streams.directory import ApiKey
from streams.errors import NotAllowed, NotAuthenticated, WrongState
from streams.ids import base32

EVERY_APP = "*"  # the app of operators' keys
PREFIX = "rn"
REFUSAL = "the key is missing, unknown, expired, revoked, or not for this address"
OVERLAP_S = 86_400  # a key that was rotated is good for so long


class Scope(StrEnum):
    """What a key may do; `admin` includes every other scope, `operate` includes `read`."""

    SUBMIT = "submit"  # submit, cancel and retry jobs of its app
    READ = "read"  # see its app's jobs, callbacks and endpoints, and the classes
    OPERATE = "operate"  # endpoints, replays; with app `*` also pauses and limits
    ADMIN = "admin"  # keys
    METRICS = "metrics"  # GET /metrics


INCLUDED: dict[Scope, frozenset[str]] = {
    scope: frozenset({scope, Scope.ADMIN} | ({Scope.OPERATE} if scope is Scope.READ else set()))
    for scope in Scope
}


NOBODY = ApiKey("", "", "0" * 64, (), 0)  # what an unknown key is compared with


def mint_key(
    app: str,
    scopes: tuple[str, ...],
    *,
    now_ms: int,
    expires_ms: int = 0,
    note: str = "",
    networks: tuple[str, ...] = (),
) -> tuple[ApiKey, str]:
    """A new key to store, and the text to give to its owner, which is kept nowhere."""
    key_id = base32(secrets.randbits(60), 12)
    secret = secrets.token_urlsafe(32)
    record = ApiKey(
        id=key_id,
        app=app,
        secret_sha256=hashlib.sha256(secret.encode()).hexdigest(),
        scopes=scopes,
        created_ms=now_ms,
        expires_ms=expires_ms,
        note=note,
        networks=networks,
    )
    return record, f"{PREFIX}_{key_id}_{secret}"


def rotated(key: ApiKey, *, now_ms: int, overlap_s: int) -> tuple[ApiKey, str, ApiKey]:
    """A key like `key`, its text, and `key` as it then is: good for `overlap_s` more.

    The new one gets as long a life as the old one was given. Raises WrongState for a key that was
    rotated before.
    """
    if key.replaced_by:
        raise WrongState(f"the key was rotated before: {key.replaced_by} took its place")
    expires_ms = now_ms + key.expires_ms - key.created_ms if key.expires_ms else 0
    made, text = mint_key(
        key.app,
        key.scopes,
        now_ms=now_ms,
        expires_ms=expires_ms,
        note=key.note,
        networks=key.networks,
    )
    ends_ms = now_ms + overlap_s * 1_000
    ends_ms = min(ends_ms, key.expires_ms) if key.expires_ms else ends_ms
    return made, text, msgspec.structs.replace(key, expires_ms=ends_ms, replaced_by=made.id)


async def authenticate(
    authorization: str, keys: Mirror[ApiKey], clock: Clock, address: str
) -> ApiKey:
    """The key of an `Authorization` header sent from `address`. Raises NotAuthenticated."""
    key_id, secret = _parse(authorization)
    key = _proven(key_id, secret, keys.rows())
    if key_id and not _is_good(key, clock.now_ms(), address):
        # It may have been made elsewhere a moment ago. Whatever is wrong, the answer takes as long.
        await keys.look_again()
        key = _proven(key_id, secret, keys.rows())
    if key is None or not _is_good(key, clock.now_ms(), address):
        raise NotAuthenticated(REFUSAL)
    return key


def require(key: ApiKey, scope: Scope) -> None:
    """Raise NotAllowed unless `key` has `scope` or one that includes it."""
    if INCLUDED[scope].isdisjoint(key.scopes):
        raise NotAllowed(f"the key lacks the scope {scope}")


def sees(key: ApiKey, app: str) -> bool:
    """Whether what belongs to `app` exists for the owner of `key`."""
    return key.app in (app, EVERY_APP)


def app_filter(key: ApiKey, wanted: str | None) -> str | None:
    """The app that a listing is narrowed to: the key's own, or the wanted one of an operator."""
    if key.app == EVERY_APP:
        return wanted
    if wanted is not None and wanted != key.app:
        raise NotAllowed("the key belongs to another app")
    return key.app


def app_of(key: ApiKey, wanted: str | None) -> str:
    """The app that something new belongs to. An operator's key has to name it."""
    app = app_filter(key, wanted)
    if app is None:
        raise NotAllowed("a key of all apps must name the app that this is for")
    return app


def _parse(authorization: str) -> tuple[str, str]:
    scheme, _, token = authorization.partition(" ")
    parts = token.strip().split("_", 2)
    if scheme.lower() != "bearer" or len(parts) != 3 or parts[0] != PREFIX:
        return "", ""
    return parts[1], parts[2]


def _proven(key_id: str, secret: str, rows: Mapping[str, ApiKey]) -> ApiKey | None:
    """The key of that id if the secret is its own; takes as long if there is none."""
    key = rows.get(key_id, NOBODY)
    digest = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
    good = hmac.compare_digest(digest, key.secret_sha256)
    return key if good and key is not NOBODY else None


def _is_good(key: ApiKey | None, now_ms: int, address: str) -> bool:
    if key is None or 0 < key.expires_ms <= now_ms:
        return False
    return not key.networks or lies_in(address, networks(key.networks, "$.networks"))
