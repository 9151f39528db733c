"""Errors as the outside sees them: RFC 9457 problem documents, one table of statuses.

No other module decides a status for an error. A problem never carries a stack, a Redis text or
anything else that was not written for the caller.
"""

import logging
import math
from collections.abc import Sequence

import msgspec
from redis.exceptions import ConnectionError as RedisAway
from redis.exceptions import OutOfMemoryError, RedisError
from redis.exceptions import TimeoutError as RedisSlow
from starlette.responses import Response

from gateway.redaction import redact
from streams.errors import InvalidInput, Rejected, Trouble, Unavailable, UniqueTaken

log = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"
DETAIL_MAX = 1_000  # characters
PATH_MAX = 500


class NotFound(Rejected):
    """No such path, or no record of that name; the message says which."""

    code = "not_found"


class MethodNotAllowed(Rejected):
    """The path exists, the method does not; `allow` lists those that do."""

    code = "method_not_allowed"

    def __init__(self, allow: Sequence[str]) -> None:
        super().__init__(f"allowed here: {', '.join(allow)}")
        self.allow = tuple(allow)


class NotAcceptable(Rejected):
    """The `Accept` header excludes the only media type that this path answers."""

    code = "not_acceptable"


class TooSlow(Rejected):
    """The request did not arrive in time."""

    code = "request_timeout"


class RangeRefused(Rejected):
    """A `Range` that begins behind the end of what has `size` bytes."""

    code = "range_refused"

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message)
        self.size = size


class UnsupportedMediaType(Rejected):
    """A body that is not declared as JSON, or is declared as compressed."""

    code = "unsupported_media_type"


class MalformedRequest(Rejected):
    """What arrived is not HTTP/1.1."""

    code = "malformed_request"


class LengthRequired(Rejected):
    """A body is needed, and neither its length nor chunks were declared."""

    code = "length_required"


class UriTooLong(Rejected):
    """The URL is longer than allowed."""

    code = "uri_too_long"


class ExpectationFailed(Rejected):
    """An `Expect` header asks for something other than `100-continue`."""

    code = "expectation_failed"


class HeadersTooLarge(Rejected):
    """The request has more headers, or more bytes of them, than allowed."""

    code = "headers_too_large"


class RateLimited(Trouble):
    """The app is over a limit of its own; it may ask again after `after_s`.

    `what` names the limit and `quota` tells how much it allows, for the `RateLimit` headers.
    """

    code = "rate_limited"

    def __init__(self, what: str, quota: int, after_s: float, message: str) -> None:
        super().__init__(message)
        self.what = what
        self.quota = quota
        self.after_s = after_s


class MalformedJson(Rejected):
    """The body is not JSON at all."""

    code = "malformed_json"


class InvalidFields(InvalidInput):
    """Several values are wrong; `faults` holds a path and a message for each."""

    def __init__(self, faults: Sequence[tuple[str, str]]) -> None:
        path, message = faults[0]
        super().__init__(message, path)
        self.faults = tuple(faults)


class KeyReused(Rejected):
    """The idempotency key belongs to a job with another body."""

    code = "idempotency_key_reused"


# Error code → (HTTP status, title). Every class of the error tree is here: tests walk the tree.
STATUSES: dict[str, tuple[int, str]] = {
    "malformed_request": (400, "The request is not valid HTTP"),
    "malformed_json": (400, "The body is not valid JSON"),
    "not_authenticated": (401, "A valid key is needed"),
    "not_allowed": (403, "The key does not allow this"),
    "not_found": (404, "There is no such thing"),
    "unknown_job": (404, "There is no such job"),
    "unknown_blob": (404, "There is no such blob"),
    "method_not_allowed": (405, "The path does not have this method"),
    "not_acceptable": (406, "This path does not answer in an accepted media type"),
    "request_timeout": (408, "The request did not arrive in time"),
    "unfinished": (409, "The job has not ended"),
    "wrong_state": (409, "The present state forbids this"),
    "unique_taken": (409, "Another job has the unique key"),
    "name_taken": (409, "The name is taken"),
    "lease_lost": (409, "Another attempt owns the job"),
    "job_gone": (410, "The record outlived its retention"),
    "length_required": (411, "The length of the body must be declared"),
    "too_large": (413, "The request is over a limit"),
    "uri_too_long": (414, "The URL is too long"),
    "unsupported_media_type": (415, "The body must be application/json"),
    "range_refused": (416, "There are no such bytes"),
    "expectation_failed": (417, "Only 100-continue can be expected"),
    "rejected": (422, "The request can never succeed as it is"),
    "invalid_input": (422, "A value has the wrong type or range"),
    "unknown_processor": (422, "No worker has published this processor"),
    "unknown_endpoint": (422, "The callback URL lies under no endpoint of the app"),
    "idempotency_key_reused": (422, "The idempotency key belongs to another request"),
    "rate_limited": (429, "The app is over its limit"),
    "class_full": (429, "Too much waits in this resource class"),
    "headers_too_large": (431, "The headers are too large"),
    "trouble": (500, "Something failed here"),
    "crashed": (500, "Something failed here"),
    "config_error": (500, "Something is set up wrongly here"),
    "internal": (500, "Something failed here"),
    "retry": (503, "Try again later"),
    "snoozed": (503, "Try again later"),
    "unavailable": (503, "A dependency does not answer"),
    "out_of_memory": (503, "The store is full"),
    "spool_full": (503, "The journal is full"),
    "disk_refused": (503, "The disk takes no more"),
    "undecided": (503, "This cannot be decided while the store does not answer"),
    "watermark_moved": (503, "The store is being caught up with"),
    "timed_out": (504, "It took too long"),
    "storage_full": (507, "The app has no room for it"),
}


class FieldFault(msgspec.Struct, frozen=True):
    """One wrong value: where it is and what is wrong with it."""

    path: str  # a JSON path such as `$.payload.pages[3].url`
    message: str


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error, as in RFC 9457; `code` is stable and the thing to branch on."""

    type: str
    title: str
    status: int
    code: str
    detail: str = ""
    instance: str = ""
    errors: tuple[FieldFault, ...] = ()
    job: str = ""  # the job that stands in the way


def is_outage(error: BaseException) -> bool:
    """Whether `error` says that a dependency cannot answer now, and nothing about the request."""
    return isinstance(error, Unavailable | RedisAway | RedisSlow | OutOfMemoryError | TimeoutError)


def problem_of(error: Exception, instance: str = "") -> Problem:
    """The problem document of any exception; what nobody foresaw is `internal`."""
    code = _code_of(error)
    status, title = STATUSES[code]
    return Problem(
        type=f"urn:roughneck:problem:{code}",
        title=title,
        status=status,
        code=code,
        detail=_shown(error) if isinstance(error, Rejected | RateLimited) else "",
        instance=redact(instance[:PATH_MAX]),
        errors=_faults_of(error),
        job=error.holder if isinstance(error, UniqueTaken) else "",
    )


def problem_response(error: Exception, instance: str = "") -> Response:
    """The HTTP answer to any exception. Unforeseen ones are logged with their stack."""
    problem = problem_of(error, instance)
    if problem.status == 500:
        log.error("request failed", extra={"path": instance}, exc_info=error)
    return Response(
        msgspec.json.encode(problem),
        status_code=problem.status,
        headers=_headers_of(error, problem.status),
        media_type=PROBLEM_JSON,
    )


def _code_of(error: Exception) -> str:
    if isinstance(error, Trouble):  # a code that only another folder knows: its parent's
        codes = (getattr(kind, "code", "") for kind in type(error).__mro__)
        return next(code for code in codes if code in STATUSES)
    if isinstance(error, OutOfMemoryError):
        return "out_of_memory"
    # LOADING, READONLY, MISCONF, NOPERM and the like: nothing the caller could change.
    if isinstance(error, RedisError | TimeoutError | ConnectionError):
        return "unavailable"
    return "internal"


def _shown(error: Exception) -> str:
    """An error's text for the caller: callers put keys where they do not belong."""
    return redact(str(error)[:DETAIL_MAX])


def _faults_of(error: Exception) -> tuple[FieldFault, ...]:
    found: Sequence[tuple[str, str]] = ()
    if isinstance(error, InvalidFields):
        found = error.faults
    elif isinstance(error, InvalidInput):
        found = [(error.path, str(error))]
    return tuple(
        FieldFault(redact(path[:PATH_MAX]), redact(message[:DETAIL_MAX])) for path, message in found
    )


def _headers_of(error: Exception, status: int) -> dict[str, str]:
    if isinstance(error, MethodNotAllowed):
        return {"allow": ", ".join(error.allow)}
    if isinstance(error, RangeRefused):
        return {"content-range": f"bytes */{error.size}"}
    if status == 401:
        return {"www-authenticate": 'Bearer realm="roughneck"'}
    if isinstance(error, RateLimited):
        after = str(max(1, math.ceil(error.after_s)))
        return {
            "retry-after": after,
            "ratelimit-policy": f'"{error.what}";q={error.quota}',
            "ratelimit": f'"{error.what}";r=0;t={after}',
        }
    if status == 503 or isinstance(error, Unavailable):
        after_s = error.after_s if isinstance(error, Unavailable) else 1.0
        return {"retry-after": str(max(1, round(after_s)))}
    return {}
