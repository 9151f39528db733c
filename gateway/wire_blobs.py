"""What crosses the wire about blobs."""

import msgspec


class BlobView(msgspec.Struct, frozen=True):
    """A blob. Refer to it by `{"$blob": "id"}` in a payload."""

    id: str
    bytes: int
    sha256: str
    media: str
