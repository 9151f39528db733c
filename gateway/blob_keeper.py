"""A gateway's blobs: its store, and which jobs they are kept for."""

import msgspec

from gateway.blob_store import BlobStore
from streams.blobs import Place, may_refer, references
from streams.directory import BlobPlace
from streams.errors import InvalidInput


class BlobKeeper:
    """A gateway's blobs."""

    def __init__(self, store: BlobStore, *, max_bytes: int, orphan_s: int) -> None:
        """`orphan_s` is how long a blob is kept that no job refers to."""
        self.store = store
        self.max_bytes = max_bytes
        self.orphan_ms = orphan_s * 1_000

    def place(self, url: str, now_ms: int) -> BlobPlace:
        """What workers need to know."""
        return BlobPlace(url, self.store.secret, now_ms)

    async def hold(self, app: str, job_id: str, payload: bytes) -> None:
        """Keep the blobs that a payload refers to as long as the job. Raises InvalidInput."""
        if not may_refer(payload):
            return
        found = list(references(msgspec.json.decode(payload)))
        for place, blob_id in found:
            record = await self.store.find(blob_id)
            if record is None or record.app != app:
                raise InvalidInput("the app has no such blob here", path_of(place))
        if found:
            await self.store.bind(sorted({blob_id for _, blob_id in found}), job_id)


def path_of(place: Place) -> str:
    """The JSON path of a reference."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return "$.payload" + "".join(steps)
