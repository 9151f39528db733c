"""Who is asking: bearer keys `rn_<id>_<secret>`, their scopes, and what they may see.

A key's secret has 256 random bits and only its SHA-256 is stored, so a slow hash would add
nothing. Missing, unknown, expired and revoked keys get one and the same answer.
"""

import hashlib
import hmac
import secrets
from enum import StrEnum

from gateway.mirror import Mirror
from streams.clock import Clock
from streams.directory import ApiKey
from streams.errors import NotAllowed, NotAuthenticated
from streams.ids import base32

EVERY_APP = "*"  # the app of operators' keys
PREFIX = "rn"
NOBODY_SHA256 = "0" * 64


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


def mint_key(
    app: str, scopes: tuple[str, ...], *, now_ms: int, expires_ms: int = 0, note: str = ""
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
    )
    return record, f"{PREFIX}_{key_id}_{secret}"


async def authenticate(authorization: str, keys: Mirror[ApiKey], clock: Clock) -> ApiKey:
    """The key of an `Authorization` header. Raises NotAuthenticated, always the same."""
    key_id, secret = _parse(authorization)
    key = await keys.find(key_id) if key_id else None
    digest = hashlib.sha256(secret.encode()).hexdigest()
    good = hmac.compare_digest(digest, key.secret_sha256 if key else NOBODY_SHA256)
    if key is None or not good or 0 < key.expires_ms <= clock.now_ms():
        raise NotAuthenticated("the key is missing, unknown, expired or revoked")
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
