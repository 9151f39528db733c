"""API keys over HTTP, for administrators."""

from starlette.responses import Response

from gateway.auth import EVERY_APP, Scope, mint_key, rotated, sees
from gateway.call import Call, Operation, answer
from gateway.peer import networks
from gateway.problems import NotFound
from gateway.wire import PageView, milliseconds
from gateway.wire_registry import KeyRequest, KeyRotateRequest, KeyView
from streams.directory import ApiKey
from streams.errors import ConfigError, InvalidInput, NotAllowed, WrongState


async def create_key(call: Call) -> Response:
    """Make a key. The answer is the only one that holds it."""
    request = await call.body(KeyRequest)
    if call.key.app not in (EVERY_APP, request.app):
        raise NotAllowed("the key belongs to another app")
    now_ms = call.parts.clock.now_ms()
    expires_ms = milliseconds(request.expires_at)
    if request.expires_at is not None and expires_ms <= now_ms:
        raise InvalidInput("is in the past", "$.expires_at")
    scopes = tuple(dict.fromkeys(request.scopes))
    record, text = mint_key(
        request.app,
        scopes,
        now_ms=now_ms,
        expires_ms=expires_ms,
        note=request.note,
        networks=_checked(request.networks),
    )
    call.note(owner=record.app, scopes=record.scopes)
    await call.parts.directory.put_key(record)
    await call.parts.keys.refresh()
    return answer(KeyView.of(record, text), 201, {"location": f"/v1/keys/{record.id}"})


async def list_keys(call: Call) -> Response:
    """The keys that this key may manage, oldest first, without their secrets."""
    records, uses = await call.parts.directory.keys(), await call.parts.directory.key_uses()
    found = sorted(
        (one for one in records.values() if sees(call.key, one.app)),
        key=lambda one: (one.created_ms, one.id),
    )
    views = tuple(KeyView.of(one, used_ms=uses.get(one.id, 0)) for one in found)
    return answer(PageView(views, None))


async def rotate_key(call: Call) -> Response:
    """Make a key that takes the place of one, which stays good for a while."""
    request = await call.body(KeyRotateRequest)
    now_ms = call.parts.clock.now_ms()
    made, text, before = rotated(await _visible(call), now_ms=now_ms, overlap_s=request.overlap_s)
    call.note(owner=made.app, replaced_by=made.id)
    await call.parts.directory.put_key(made)  # first: at no moment is there none that is good
    await call.parts.directory.put_key(before)
    await call.parts.keys.refresh()
    return answer(KeyView.of(made, text), 201, {"location": f"/v1/keys/{made.id}"})


async def revoke_key(call: Call) -> Response:
    """Revoke a key: refused here at once, by every gateway within 5 s."""
    record = await _visible(call)
    call.note(owner=record.app)
    await call.parts.directory.delete_key(record.id)
    await call.parts.keys.refresh()
    return Response(status_code=204)


async def _visible(call: Call) -> ApiKey:
    key_id = call.name("id")
    record = (await call.parts.directory.keys()).get(key_id)
    if record is None or not sees(call.key, record.app):
        raise NotFound(f"there is no key {key_id[:100]}")
    return record


def _checked(texts: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(map(str, networks(texts, "$.networks")))
    except ConfigError:
        raise InvalidInput("not a network such as 10.8.0.0/24", "$.networks") from None


OPERATIONS = (
    Operation(
        "POST",
        "/v1/keys",
        "Make an API key",
        create_key,
        Scope.ADMIN,
        body=KeyRequest,
        answers={201: KeyView},
        errors=(InvalidInput, NotAllowed),
    ),
    Operation(
        "GET",
        "/v1/keys",
        "List API keys",
        list_keys,
        Scope.ADMIN,
        answers={200: PageView[KeyView]},
    ),
    Operation(
        "POST",
        "/v1/keys/{id}:rotate",
        "Rotate an API key",
        rotate_key,
        Scope.ADMIN,
        body=KeyRotateRequest,
        answers={201: KeyView},
        errors=(NotFound, WrongState, InvalidInput),
    ),
    Operation(
        "DELETE",
        "/v1/keys/{id}",
        "Revoke an API key",
        revoke_key,
        Scope.ADMIN,
        answers={204: None},
        errors=(NotFound,),
    ),
)
