"""One of two processors of one name."""

import msgspec

from processors.sdk import Manifest, processor


class Nothing(msgspec.Struct):
    """No input."""


@processor(Manifest(name="twice", version="1", summary="The second."))
async def second(given: Nothing) -> None:
    """Never run."""
