"""OpenAPI 3.1, generated from the operations and their structs, and a page to read it."""

import re
from collections.abc import Iterable, Sequence
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec
from starlette.responses import Response

from gateway.call import JSON, Call, Operation, has_required
from gateway.problems import (
    PROBLEM_JSON,
    STATUSES,
    ExpectationFailed,
    HeadersTooLarge,
    LengthRequired,
    MalformedJson,
    MalformedRequest,
    MethodNotAllowed,
    NotAcceptable,
    Problem,
    RateLimited,
    TooSlow,
    UnsupportedMediaType,
    UriTooLong,
)
from streams.errors import (
    InvalidInput,
    NotAllowed,
    NotAuthenticated,
    TooLarge,
    Trouble,
    Unavailable,
)

BINARY = "application/octet-stream"
REF = "#/components/schemas/{name}"
PART = re.compile(r"{(\w+)}")
HEADERS = {
    ("POST", "/v1/jobs"): ("Idempotency-Key", "Prefer", "traceparent"),
    ("POST", "/v1/jobs:batch"): ("Idempotency-Key", "traceparent"),
    ("GET", "/v1/jobs/{id}"): ("Prefer",),
    ("GET", "/v1/blobs/{id}"): ("Range", "If-Range"),
    ("GET", "/v1/jobs/{id}/events"): ("Last-Event-ID", "Prefer"),
    ("GET", "/v1/jobs/{id}/stream"): ("Last-Event-ID", "Prefer"),
    ("GET", "/v1/events"): ("Last-Event-ID", "Prefer"),
    ("POST", "/v1/flows"): ("Idempotency-Key", "Prefer", "traceparent"),
    ("GET", "/v1/flows/{id}"): ("Prefer",),
}

# What any operation may answer, what those with a key may, and those with a body.
ANY = (
    *(MalformedRequest, MethodNotAllowed, NotAcceptable, TooSlow, UriTooLong),
    *(ExpectationFailed, HeadersTooLarge, Unavailable),
)
KEYED = (NotAuthenticated, NotAllowed, RateLimited)
BODIED = (MalformedJson, InvalidInput, LengthRequired, TooLarge, UnsupportedMediaType)
# What an answer's `id` is good for: operations that take it in their path.
LINKS = {
    "submit": (
        *("read_job", "read_result", "list_attempts", "explain_job"),
        *("change_job", "promote_job", "cancel_job", "retry_job"),
    ),
    "create_endpoint": ("read_endpoint", "rotate_endpoint", "delete_endpoint"),
    "create_key": ("rotate_key", "revoke_key"),
}

Json = dict[str, Any]


def operations(described: Sequence[Operation]) -> tuple[Operation, ...]:
    """The operations that serve the description of `described`, and of themselves."""

    async def read_document(call: Call) -> Response:
        """The OpenAPI document."""
        return Response(document, media_type=JSON)

    async def read_docs(call: Call) -> Response:
        """A page that shows it; it loads nothing from elsewhere."""
        headers = {"content-security-policy": "default-src 'self' 'unsafe-inline'"}
        return Response(page, headers=headers, media_type="text/html; charset=utf-8")

    own = (
        Operation("GET", "/openapi.json", "This document", read_document, None, answers={200: Any}),
        Operation(
            "GET",
            "/docs",
            "A page that shows this document",
            read_docs,
            None,
            answers={200: str},
            media="text/html",
        ),
    )
    document = msgspec.json.encode(describe([*described, *own]))
    page = (resources.files("gateway") / "docs.html").read_bytes()
    return own


def describe(described: Sequence[Operation]) -> Json:
    """The OpenAPI document of these operations."""
    kinds = list(dict.fromkeys(_kinds(described)))
    schemas, components = msgspec.json.schema_components(kinds, ref_template=REF)
    schema_of = dict(zip(kinds, schemas, strict=True))
    paths: Json = {}
    for operation in described:
        item = paths.setdefault(operation.path, {})
        item[operation.method.lower()] = _operation(operation, schema_of, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Roughneck",
            "version": _version(),
            "description": "Jobs over HTTP. Errors are problem documents (RFC 9457).",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "bearerFormat": "rn_<id>_<secret>"}
            },
        },
    }


def _kinds(described: Iterable[Operation]) -> Iterable[Any]:
    yield Problem
    for operation in described:
        for kind in (operation.body, operation.query, *operation.answers.values()):
            if kind not in (None, bytes):
                yield kind


def _operation(operation: Operation, schema_of: Json, components: Json) -> Json:
    answers = {
        str(status): _answer(operation, kind, schema_of)
        for status, kind in operation.answers.items()
    }
    document: Json = {
        "operationId": operation.run.__name__,
        "summary": operation.summary,
        "description": (operation.run.__doc__ or "").strip(),
        "tags": [_tag(operation.path)],
        "parameters": _parameters(operation, components),
        "responses": answers | _problems(operation),
    }
    if operation.scope is not None:
        document["security"] = [{"key": [operation.scope]}]
    if operation.body is bytes:
        document["requestBody"] = {"required": True, "content": {BINARY: {"schema": {}}}}
    elif operation.body is not None:
        document["requestBody"] = {
            "required": has_required(operation.body),
            "content": {JSON: {"schema": schema_of[operation.body]}},
        }
    return document


def _parameters(operation: Operation, components: Json) -> list[Json]:
    found = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in PART.findall(operation.path)
    ]
    if operation.query is not None:
        fields = components[operation.query.__name__]["properties"]
        found += [{"name": name, "in": "query", "schema": fields[name]} for name in fields]
    for name in HEADERS.get((operation.method, operation.path), ()):
        found.append({"name": name, "in": "header", "schema": {"type": "string"}})
    return found


def _answer(operation: Operation, kind: Any, schema_of: Json) -> Json:
    if kind is None:
        return {"description": "Done"}
    described: Json = {
        "description": operation.summary,
        "content": {operation.media: {"schema": {} if kind is bytes else schema_of[kind]}},
    }
    if links := LINKS.get(operation.run.__name__):
        given = {"id": "$response.body#/id"}
        described["links"] = {name: {"operationId": name, "parameters": given} for name in links}
    return described


def _problems(operation: Operation) -> Json:
    """The problem answers of an operation by status, with their codes."""
    errors: list[type[Trouble]] = [*operation.errors, *ANY]
    if operation.scope is not None:
        errors += KEYED
    if operation.body not in (None, bytes):
        errors += BODIED
    if operation.query is not None:
        errors.append(InvalidInput)
    codes: dict[int, list[str]] = {}
    for error in dict.fromkeys(errors):
        codes.setdefault(STATUSES[error.code][0], []).append(error.code)
    schema = {"$ref": REF.format(name=Problem.__name__)}
    return {
        str(status): {
            "description": ", ".join(sorted(found)),
            "content": {PROBLEM_JSON: {"schema": schema}},
        }
        for status, found in sorted(codes.items())
    }


def _tag(path: str) -> str:
    parts = path.strip("/").split("/")
    return parts[1].partition(":")[0] if parts[0] == "v1" else "operation"


def _version() -> str:
    try:
        return version("roughneck")
    except PackageNotFoundError:
        return "0"
