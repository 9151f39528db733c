"""The models that are pulled: pulling with its progress, and deleting."""

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping

import msgspec
from starlette.responses import Response, StreamingResponse

from ops.sim_ollama.clock import ScaledClock
from ops.sim_ollama.faults import Faults, Kind
from ops.sim_ollama.models import ModelSpec, default_models, digest, full_name
from ops.sim_ollama.wire import Problem, parse_body

BYTES_PER_S = 50_000_000
PROGRESS_EVERY_S = 0.06
CONFIG_BYTES = 487
NO_MANIFEST = "pull model manifest: file does not exist"


class Library:
    """What is pulled now, and what could be. A model that is pulled anew has another digest."""

    def __init__(self, models: dict[str, ModelSpec], clock: ScaledClock) -> None:
        """`models` are those that are pulled; it is changed by pull and delete."""
        self.pulled = models
        self.known: Mapping[str, ModelSpec] = {**default_models(), **models}
        self._clock = clock
        self._revisions: Counter[str] = Counter()

    def digest(self, name: str) -> str:
        """The manifest digest of a pulled model."""
        revision = self._revisions[name]
        return digest(f"{name}#{revision}") if revision else digest(name)

    def delete(self, body: bytes) -> str:
        """DELETE /api/delete; the model that is gone. Raises Problem 404."""
        name = _name(body)
        if self.pulled.pop(name, None) is None:
            raise Problem(404, f"model '{name}' not found")
        self._revisions[name] += 1
        return name

    async def pull(self, body: bytes, faults: Faults) -> Response:
        """POST /api/pull: lines of progress, or one answer. Raises Problem."""
        asked = parse_body(body)
        lines = self._pulling(_name(body), faults)
        if asked.get("stream") is not False:
            return StreamingResponse(_ndjson(lines), media_type="application/x-ndjson")
        last: dict[str, object] = {}
        async for last in lines:
            if "error" in last:
                raise Problem(500, str(last["error"]))
        return Response(msgspec.json.encode(last), media_type="application/json; charset=utf-8")

    async def _pulling(self, name: str, faults: Faults) -> AsyncIterator[dict[str, object]]:
        yield {"status": "pulling manifest"}
        spec = self.known.get(name)
        if spec is None:
            yield {"error": NO_MANIFEST}
            return
        for layer, size in (("weights", spec.size_bytes), ("config", CONFIG_BYTES)):
            fault = faults.get(Kind.ERROR_LINE)
            if fault is not None:
                yield {"error": fault.text or "max retries exceeded: unexpected EOF"}
                return
            async for line in self._layer(f"{name}/{layer}", size, there=name in self.pulled):
                yield line
        self.pulled[name] = spec
        for status in ("verifying sha256 digest", "writing manifest", "success"):
            yield {"status": status}

    async def _layer(
        self, name: str, size: int, *, there: bool
    ) -> AsyncIterator[dict[str, object]]:
        """One layer; a cached one is one line."""
        sha = hashlib.sha256(name.encode()).hexdigest()
        line: dict[str, object] = {
            "status": f"pulling {sha[:12]}",
            "digest": f"sha256:{sha}",
            "total": size,
        }
        step = size if there else max(1, int(BYTES_PER_S * max(PROGRESS_EVERY_S, size / 1e9)))
        for completed in range(step, size, step):
            await self._clock.sleep(step / BYTES_PER_S)
            yield {**line, "completed": completed}
        yield {**line, "completed": size}


def _name(body: bytes) -> str:
    asked = parse_body(body)
    name = full_name(str(asked.get("model") or asked.get("name") or ""))
    if not name:
        raise Problem(400, "model is required")
    return name


async def _ndjson(lines: AsyncIterator[dict[str, object]]) -> AsyncIterator[bytes]:
    async for line in lines:
        yield msgspec.json.encode(line) + b"\n"
