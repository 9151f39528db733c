"""One request in its context, and the table entry that says how to answer it.

Each resource module ends in a tuple of operations. Routes, authentication, metrics and OpenAPI
are all made from these.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive
from starlette.types import Scope as RequestScope

from gateway import limits
from gateway.auth import Scope, authenticate, require
from gateway.heads import WHOLE, Heads
from gateway.parts import GatewayParts
from gateway.peer import address_of
from gateway.problems import MalformedJson
from gateway.rate import BYTES, REQUESTS
from streams.directory import ApiKey
from streams.errors import InvalidInput, TooLarge, Trouble

JSON = "application/json"
JSON_TYPE = (b"content-type", JSON.encode())

NUMBER = re.compile(r"-?[0-9]{1,18}")
BAD_CHOICE = "Invalid enum value"  # msgspec quotes it; we quote no value
FIELD = re.compile(r"Object (?:missing required|contains unknown) field `(.+)`")

T = TypeVar("T")

_decoders: dict[Any, "msgspec.json.Decoder[Any]"] = {}
_encoder = msgspec.json.Encoder()


class Call:
    """A request, the parts that answer it, and whose key it bears."""

    def __init__(self, scope: RequestScope, receive: Receive, parts: GatewayParts) -> None:
        self.scope = scope
        self.receive = receive
        self.headers = Heads(scope["headers"])
        self.parts = parts
        self.noted: dict[str, object] = {}
        self._key: ApiKey | None = None

    @property
    def request(self) -> Request:
        """The same, as Starlette shows it."""
        return Request(self.scope, self.receive)

    @property
    def key(self) -> ApiKey:
        """The caller's key, once `identify` has found it good."""
        assert self._key is not None
        return self._key

    async def identify(self, scope: Scope) -> None:
        """Find out whose request this is. Raises NotAuthenticated, and NotAllowed without scope."""
        header = self.headers.get("authorization", "")
        parts = self.parts
        self._key = await authenticate(header, parts.keys, parts.clock, self.address)
        parts.uses.note(self._key.id, parts.clock.now_ms())
        await parts.rates.spend(self._key.app, REQUESTS, 1)
        require(self._key, scope)

    async def admit(self, jobs: int) -> None:
        """Let the app submit that many jobs. Raises RateLimited."""
        await self.parts.rates.spend(self.key.app, REQUESTS, jobs - 1)  # the first: the request
        self.parts.rates.admit(self.key.app, jobs)

    def note(self, **fields: object) -> None:
        """Tell the audit log more than the operation, the path and who it was."""
        self.noted.update(fields)

    @property
    def caller(self) -> ApiKey | None:
        """Whose key was found good, None while nobody's was."""
        return self._key

    @property
    def address(self) -> str:
        """From where the request comes; empty when that is unknown."""
        return address_of(self.scope, self.parts.trusted_proxies)

    @property
    def names(self) -> dict[str, Any]:
        """The parts of the path by name."""
        return self.scope.get("path_params") or {}

    def name(self, part: str) -> str:
        """A part of the path, such as `id`."""
        return str(self.names[part])

    async def body(self, kind: type[T], *, max_bytes: int | None = None) -> T:
        """The JSON body as `kind`. None at all means `{}` where no field is required."""
        settings = self.parts.settings
        raw = await limits.read_body(
            self.receive,
            self.headers,
            max_bytes=max_bytes or settings.body_max_bytes,
            within_s=settings.body_read_s,
            here=WHOLE in self.scope,
        )
        if not raw and has_required(kind):
            limits.check_present(self.headers)
        if not raw:
            return decode(b"{}", kind)
        if self._key is not None:
            await self.parts.rates.spend(self._key.app, BYTES, len(raw))
        limits.check_json_type(self.headers)
        limits.check_shape(raw, settings)
        return decode(raw, kind)

    def query(self, kind: type[T]) -> T:
        """The query string as `kind`; unknown and repeated names are errors."""
        given = self.request.query_params
        repeated = [name for name in given if len(given.getlist(name)) > 1]
        if repeated:
            raise InvalidInput("given more than once", f"$.{repeated[0]}")
        try:
            return msgspec.convert(_numbered(dict(given), kind), kind)
        except msgspec.ValidationError as error:
            raise invalid(error) from None


class Operation(msgspec.Struct, frozen=True):
    """A method and path, who may use it, what it takes and answers."""

    method: str
    path: str
    summary: str
    run: Callable[[Call], Awaitable[Response]]
    scope: Scope | None  # None: no key needed
    body: Any = None  # the struct of its body
    query: Any = None  # the struct of its query string
    answers: dict[int, Any] = {}  # status → struct, None for an empty body
    errors: tuple[type[Trouble], ...] = ()  # beyond those that any operation may answer
    media: str = JSON


class Answer(Response):
    """JSON, ready to be sent; made in fewer steps than Starlette's."""

    def __init__(self, body: bytes, status: int, headers: Mapping[str, str]) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        self.raw_headers = [*raw, (b"content-length", b"%d" % len(body)), JSON_TYPE]


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON response."""
    return Answer(_encoder.encode(value), status, headers or {})


def decode(raw: bytes | msgspec.Raw, kind: type[T]) -> T:
    """JSON as `kind`. Raises MalformedJson or InvalidInput, with the path of the bad field."""
    decoder: msgspec.json.Decoder[T] | None = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise invalid(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedJson(str(error)) from None
    except RecursionError:
        raise TooLarge("nested too deeply") from None


def has_required(kind: Any) -> bool:
    """Whether some field of a struct must be given."""
    return any(field.required for field in msgspec.structs.fields(kind))


def _numbered(given: dict[str, str], kind: type) -> dict[str, Any]:
    """A query's texts, those of integer fields as integers. A time as a number is no time."""
    numbers = {field.name for field in msgspec.structs.fields(kind) if field.type is int}
    return {
        name: int(text) if name in numbers and NUMBER.fullmatch(text) else text
        for name, text in given.items()
    }


def invalid(error: msgspec.ValidationError) -> InvalidInput:
    """msgspec's `Expected … - at `$.field`` as our error with its path."""
    text, _, at = str(error).rpartition(" - at ")
    text, path = (text, at.strip("`").removeprefix("key in ").strip("`")) if text else (at, "$")
    text = BAD_CHOICE if text.startswith(BAD_CHOICE) else text
    field = FIELD.fullmatch(text)  # msgspec's path ends at the object that lacks it, or has it
    return InvalidInput(text, f"{path}.{field[1]}" if field else path)
