"""One of two processors of one name."""

import msgspec

from processors.sdk import Manifest, processor


class Nothing(msgspec.Struct):
    """No input."""


@processor(Manifest(name="twice", version="1", summary="The first."))
async def first(given: Nothing) -> None:
    """Never run."""
