"""API keys over HTTP, for administrators."""

from starlette.responses import Response

from gateway.auth import EVERY_APP, Scope, mint_key, sees
from gateway.call import Call, Operation, answer
from gateway.problems import NotFound
from gateway.wire import PageView, milliseconds
from gateway.wire_registry import KeyRequest, KeyView
from streams.errors import InvalidInput, NotAllowed


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
        request.app, scopes, now_ms=now_ms, expires_ms=expires_ms, note=request.note
    )
    await call.parts.directory.put_key(record)
    await call.parts.keys.refresh()
    return answer(KeyView.of(record, text), 201, {"location": f"/v1/keys/{record.id}"})


async def list_keys(call: Call) -> Response:
    """The keys that this key may manage, oldest first, without their secrets."""
    records = await call.parts.directory.keys()
    found = sorted(
        (one for one in records.values() if sees(call.key, one.app)),
        key=lambda one: (one.created_ms, one.id),
    )
    return answer(PageView(tuple(map(KeyView.of, found)), None))


async def revoke_key(call: Call) -> Response:
    """Revoke a key: refused here at once, by every gateway within 5 s."""
    key_id = call.name("id")
    record = (await call.parts.directory.keys()).get(key_id)
    if record is None or not sees(call.key, record.app):
        raise NotFound(f"there is no key {key_id[:100]}")
    await call.parts.directory.delete_key(key_id)
    await call.parts.keys.refresh()
    return Response(status_code=204)


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
        "DELETE",
        "/v1/keys/{id}",
        "Revoke an API key",
        revoke_key,
        Scope.ADMIN,
        answers={204: None},
        errors=(NotFound,),
    ),
)
