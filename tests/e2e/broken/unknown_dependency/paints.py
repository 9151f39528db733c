"""A processor that wants what nobody provides."""

import msgspec

from processors.sdk import Manifest, processor


class Nothing(msgspec.Struct):
    """No input."""


@processor(Manifest(name="paints", version="1", summary="Paint.", dependencies=("easel",)))
async def paints(given: Nothing) -> None:
    """Never run."""
