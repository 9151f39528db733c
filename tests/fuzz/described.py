"""Schemathesis over our own description of the API: in process, or over a socket. All checks on."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.fuzz.requests import OPERATIONS
from tests.fuzz.target import random_allowed

# What the schema allows and only the platform's state can refuse: a processor that nobody has
# published, a URL under no endpoint, two fields that exclude each other. All of it is 422; a range
# behind the end of a blob is 416.
STREAMS = [one.run.__name__ for one in OPERATIONS if one.media == "text/event-stream"]  # endless
ALLOWED = ["2xx", "401", "403", "404", "409", "410", "416", "422", "429"]


def settings(key: str, *, examples: int, number: int, whole: bool) -> SchemathesisConfig:
    """A run's settings; `whole` adds the boundary values of each schema, and takes minutes."""
    generation = {"generation": {"max-examples": examples}}
    return SchemathesisConfig.from_dict(
        {
            "seed": number,
            "headers": {"Authorization": f"Bearer {key}"},
            "request-timeout": 10.0,
            "suppress-health-check": ["all"],  # a slow machine is no fault of the API
            "checks": {
                "enabled": True,
                "positive_data_acceptance": {"expected-statuses": ALLOWED},
            },
            "phases": {
                "examples": {"enabled": False},
                "coverage": {"enabled": whole},
                "fuzzing": generation,
                "stateful": generation,
            },
        }
    )


def faults(schema: Any) -> tuple[int, list[str]]:
    """How many requests were sent, and what was wrong with the answers."""
    sent, found = 0, []
    for name in STREAMS:
        schema = schema.exclude(operation_id=name)
    with random_allowed():
        for event in from_schema(schema).execute():
            match event:
                case events.ScenarioFinished():
                    for case_id, checks in event.recorder.checks.items():
                        sent += 1
                        for check in checks:
                            if check.failure_info is not None:
                                case = event.recorder.cases[case_id].value
                                failure = check.failure_info.failure
                                reply = event.recorder.interactions[case_id].response
                                said = f"{reply.status_code} {reply.text[:300]}" if reply else ""
                                found.append(
                                    f"{case.as_curl_command()}\n{said}\n"
                                    f"{failure.title}: {failure.message}"
                                )
                case events.NonFatalError(value=error, label=label):
                    found.append(f"{label}: {error!r}")
                case events.FatalError(exception=error):
                    found.append(repr(error))
    return sent, found


def over_socket(url: str, config: SchemathesisConfig) -> tuple[int, list[str]]:
    """Requests over a real socket."""
    return faults(schemathesis.openapi.from_url(f"{url}/openapi.json", config=config))


def in_process(
    app: ASGIApp, loop: asyncio.AbstractEventLoop, config: SchemathesisConfig
) -> tuple[int, list[str]]:
    """Requests to the application itself, which lives in `loop` of another thread."""
    return faults(
        schemathesis.openapi.from_asgi("/openapi.json", bridged(app, loop), config=config)
    )


def bridged(app: ASGIApp, loop: asyncio.AbstractEventLoop) -> ASGIApp:
    """`app` for callers of any loop: each request is carried over whole, and its answer back."""

    async def carry(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        coming = [await receive()]
        sent: list[Message] = []

        async def told() -> Message:
            if coming:
                return coming.pop()
            await asyncio.Event().wait()  # the client stays until it has its answer
            raise AssertionError

        async def tell(message: Message) -> None:
            sent.append(message)

        answering: Coroutine[Any, Any, None] = app(scope, told, tell)  # type: ignore[assignment]
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(answering, loop))
        for message in sent:
            await send(message)

    return carry
