"""The apps' side of callbacks: verify, remember, answer; and stumble now and then."""

from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.signing import BadSignature, verify
from ops.demo.ledger import Receipt
from streams.clock import SystemClock

STUMBLE_EVERY = 9  # the first delivery of each ninth callback is answered with 503


class Receiver:
    """Receives callbacks at `/hooks/<app>`; `receipts` are all deliveries in order of arrival."""

    def __init__(self) -> None:
        self.receipts: list[Receipt] = []
        self.secrets: dict[str, str] = {}  # by app, as the gateway told it
        self.app = Starlette(routes=[Route("/hooks/{app}", self._receive, methods=["POST"])])
        self._known: set[str] = set()
        self._clock = SystemClock()

    @property
    def accepted(self) -> int:
        """Callbacks that were answered with success."""
        return len({one.callback_id for one in self.receipts if one.accepted})

    async def _receive(self, request: Request) -> Response:
        app = request.path_params["app"]
        body = await request.body()
        callback_id = self._verified(app, request.headers, body)
        stumbles = self._stumbles(callback_id)
        self.receipts.append(
            Receipt(
                app=app,
                callback_id=callback_id or request.headers.get("webhook-id", ""),
                body=body,
                verified=bool(callback_id),
                accepted=bool(callback_id) and not stumbles,
            )
        )
        if not callback_id:
            return Response(status_code=401)
        return Response(status_code=503 if stumbles else 204)

    def _verified(self, app: str, headers: Mapping[str, str], body: bytes) -> str:
        """The webhook-id, empty when the signature does not fit."""
        try:
            return verify([self.secrets[app]], headers, body, now_s=self._clock.now_ms() / 1_000)
        except (BadSignature, KeyError):
            return ""

    def _stumbles(self, callback_id: str) -> bool:
        is_new = bool(callback_id) and callback_id not in self._known
        self._known.add(callback_id)
        return is_new and len(self._known) % STUMBLE_EVERY == 0
