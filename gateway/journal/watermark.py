"""What a journal does about the watermark that Redis has of it. Decided here, without I/O."""

import msgspec


class Course(msgspec.Struct, frozen=True):
    """How to go on: what was answered, what Redis has, and what it lost.

    `again` rows are shipped a second time; `gone` ones were deleted here, when Redis had said that
    it has them safe, and cannot be.
    """

    cursor: int
    known: int
    again: int = 0
    gone: int = 0

    @property
    def alarming(self) -> bool:
        """Whether Redis lost what it had."""
        return self.again + self.gone > 0


def compare(watermark: int | None, cursor: int, known: int, dropped: int) -> Course:
    """The course from here, given the watermark in Redis; None is a watermark that is missing.

    `cursor`: up to there Redis has answered. `known`: what Redis was last heard to have; lower than
    the cursor where the last rows were refused. An append-only file loses its tail only, so what
    lies below the watermark is there. A higher watermark comes from a call whose answer was lost,
    or from an older life of the file: what it covers is sent again for its answers.
    """
    has = watermark or 0
    if has >= known:
        return Course(cursor, has)
    return Course(
        cursor=min(cursor, has),
        known=has,
        again=max(0, cursor - max(has, dropped)),
        gone=max(0, dropped - has),
    )
