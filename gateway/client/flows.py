"""The flows part of the client: what is sent, and the methods of both clients."""

import math
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from gateway.client.requests import Sending, traced
from gateway.wire import CancelAnswer, PageView
from gateway.wire_flows import FlowAccepted, FlowRow, FlowView

T = TypeVar("T")


def submitting_flow(
    flow: str | Iterable[Mapping[str, Any]], given: Any, fields: Mapping[str, Any]
) -> Sending[FlowAccepted]:
    """POST /v1/flows: a name, or stages with the fields of `StageRequest`."""
    what = {"name": flow} if isinstance(flow, str) else {"stages": list(flow)}
    asked, headers = traced(fields)
    body = {**what, "input": given, "idempotency_key": uuid.uuid4().hex, **asked}
    return Sending("POST", "/v1/flows", FlowAccepted, msgspec.json.encode(body), headers=headers)


def reading_flow(flow_id: str, wait_s: float = 0.0) -> Sending[FlowView]:
    """GET /v1/flows/{id}, waiting for the end if told to."""
    headers = {"prefer": f"wait={math.ceil(wait_s)}"} if wait_s else {}
    return Sending("GET", f"/v1/flows/{flow_id}", FlowView, headers=headers, wait_s=wait_s)


def listing_flows(filters: Mapping[str, Any]) -> Sending[PageView[FlowRow]]:
    """GET /v1/flows; filters that are None are left out."""
    query = {name: str(value) for name, value in filters.items() if value is not None}
    return Sending("GET", "/v1/flows", PageView[FlowRow], query=query)


def cancelling_flow(flow_id: str, reason: str) -> Sending[CancelAnswer]:
    """POST /v1/flows/{id}:cancel."""
    body = msgspec.json.encode({"reason": reason})
    return Sending("POST", f"/v1/flows/{flow_id}:cancel", CancelAnswer, body, repeatable=False)


def retrying_flow(flow_id: str) -> Sending[FlowAccepted]:
    """POST /v1/flows/{id}:retry."""
    return Sending("POST", f"/v1/flows/{flow_id}:retry", FlowAccepted, repeatable=False)


class FlowCalls:
    """Flows over HTTP; wait for one as for a job, by `Client.wait` with its id."""

    def flow(
        self, flow: str | Iterable[Mapping[str, Any]], given: Any = None, **fields: Any
    ) -> FlowAccepted:
        """Submit a flow: the name of one, or its stages; `given` is its input."""
        return self._send(submitting_flow(flow, given, fields))

    def flow_view(self, flow_id: str, wait_s: float = 0.0) -> FlowView:
        """A flow with its stages, once it has ended or `wait_s` (at most 60) have passed."""
        return self._send(reading_flow(flow_id, wait_s))

    def flows(self, **filters: Any) -> PageView[FlowRow]:
        """One page of flows, the newest first: `state`, `app`, `limit`, `cursor`."""
        return self._send(listing_flows(filters))

    def cancel_flow(self, flow_id: str, reason: str = "") -> CancelAnswer:
        """Stop a flow whole."""
        return self._send(cancelling_flow(flow_id, reason))

    def retry_flow(self, flow_id: str) -> FlowAccepted:
        """Run again what did not succeed."""
        return self._send(retrying_flow(flow_id))

    def _send(self, sending: Sending[T]) -> T:
        raise NotImplementedError


class AsyncFlowCalls:
    """`FlowCalls` for asyncio."""

    async def flow(
        self, flow: str | Iterable[Mapping[str, Any]], given: Any = None, **fields: Any
    ) -> FlowAccepted:
        """Submit a flow: the name of one, or its stages; `given` is its input."""
        return await self._send(submitting_flow(flow, given, fields))

    async def flow_view(self, flow_id: str, wait_s: float = 0.0) -> FlowView:
        """A flow with its stages, once it has ended or `wait_s` (at most 60) have passed."""
        return await self._send(reading_flow(flow_id, wait_s))

    async def flows(self, **filters: Any) -> PageView[FlowRow]:
        """One page of flows, the newest first: `state`, `app`, `limit`, `cursor`."""
        return await self._send(listing_flows(filters))

    async def cancel_flow(self, flow_id: str, reason: str = "") -> CancelAnswer:
        """Stop a flow whole."""
        return await self._send(cancelling_flow(flow_id, reason))

    async def retry_flow(self, flow_id: str) -> FlowAccepted:
        """Run again what did not succeed."""
        return await self._send(retrying_flow(flow_id))

    async def _send(self, sending: Sending[T]) -> T:
        raise NotImplementedError
