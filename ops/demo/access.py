"""What the demo is told by the gateway, and the keys and endpoints of its two apps."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import msgspec

from gateway.auth import EVERY_APP, Scope, mint_key
from gateway.client import AsyncClient, Refused
from gateway.wire import JobView
from ops.demo.ledger import Answer, Submission
from ops.demo.scenario import APPS, Planned
from streams.clock import SystemClock
from streams.directory import Directory
from streams.errors import Unavailable
from streams.model import State

PAGE = 200


class Registered(msgspec.Struct, frozen=True):
    """What the gateway tells only once, by app: API keys, and the secrets that sign callbacks."""

    keys: dict[str, str]
    secrets: dict[str, str]


class Desk:
    """The apps' clients of one gateway, and an operator's."""

    def __init__(self, clients: Mapping[str, AsyncClient], hooks: str) -> None:
        self._clients = clients
        self._hooks = hooks
        self.submissions: list[Submission] = []
        self.repeated = 0

    async def submit(self, planned: Planned, or_ends: State | None = None) -> None:
        """Submit one job as its app, twice if so planned; it may end in `or_ends` as well."""
        client, fields = self._clients[planned.app], planned.fields(f"{self._hooks}/{planned.app}")
        accepted = await client.submit(planned.processor, planned.payload, **fields)
        self.submissions.append(
            Submission(accepted.id, planned.name, planned.app, planned.ends, or_ends)
        )
        if planned.repeated:
            again = await client.submit(planned.processor, planned.payload, **fields)
            self.repeated += 1
            if again.created or again.id != accepted.id:
                self.submissions.append(
                    Submission(again.id, f"{planned.name}, again", planned.app, planned.ends)
                )

    async def running(self, worker: str) -> list[JobView]:
        """What runs now on the worker of that name."""
        page = await self._clients[EVERY_APP].jobs(state=State.ACTIVE, limit=PAGE)
        return [job for job in page.items if job.worker.startswith(f"{worker}-")]

    async def answers(self) -> dict[str, Answer | None]:
        """What the gateway says of every submitted job, to the app that submitted it."""
        return {one.job_id: await self._answer(one) for one in self.submissions}

    async def _answer(self, submission: Submission) -> Answer | None:
        client = self._clients[submission.app]
        try:
            job = await client.job(submission.job_id)
            done = job.state is State.SUCCEEDED
            result = await client.result(submission.job_id) if done else None
        except Refused:
            return None
        return Answer(job.state, job.attempt, result)


@asynccontextmanager
async def opened_desk(url: str, hooks: str, keys: Mapping[str, str]) -> AsyncIterator[Desk]:
    """Clients with `keys` by app, for as long as the block runs."""
    async with AsyncExitStack() as stack:
        clients = {
            app: await stack.enter_async_context(AsyncClient(url, key)) for app, key in keys.items()
        }
        yield Desk(clients, hooks)


async def make_admin(directory: Directory) -> str:
    """The first key, an administrator's, put into Redis as `roughneck keys create` does."""
    now_ms = SystemClock().now_ms()
    record, text = mint_key(EVERY_APP, (Scope.ADMIN,), now_ms=now_ms, note="the demo")
    await directory.put_key(record)
    return text


async def register(url: str, admin: str, hooks: str) -> Registered:
    """Make a key and an endpoint for each app, and a key for an operator who reads."""
    headers = {"authorization": f"Bearer {admin}"}
    scopes = {**{app: ["submit", "read"] for app in APPS}, EVERY_APP: ["read"]}
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as http:
        keys = {
            app: await _post(http, "/v1/keys", {"app": app, "scopes": allowed})
            for app, allowed in scopes.items()
        }
        endpoints = {
            app: await _post(http, "/v1/endpoints", {"app": app, "url": f"{hooks}/{app}"})
            for app in APPS
        }
    return Registered(
        keys={app: answer["key"] for app, answer in keys.items()},
        secrets={app: answer["secret"] for app, answer in endpoints.items()},
    )


async def _post(http: httpx.AsyncClient, path: str, body: Mapping[str, object]) -> dict[str, Any]:
    answer = await http.post(path, json=body)
    if not answer.is_success:
        raise Unavailable(f"{path} answered {answer.status_code}: {answer.text}")
    return msgspec.json.decode(answer.content, type=dict[str, Any])
