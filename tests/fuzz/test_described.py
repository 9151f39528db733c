"""The API answers as it says that it does: Schemathesis, with few examples of each operation.

`python -m tests.fuzz --described` takes its time.
"""

from tests.fuzz.described import in_process, over_socket, settings
from tests.fuzz.target import Target


def test_in_process(one: Target) -> None:
    assert one.app is not None
    config = settings(one.keys[0], examples=2, number=1, whole=False)
    sent, found = in_process(one.app, one.loop, config)
    assert found == []
    assert sent > 50


def test_over_a_socket(one: Target) -> None:
    one.calm()
    config = settings(one.keys[1], examples=2, number=2, whole=False)
    sent, found = over_socket(one.url, config)
    assert found == []
    assert sent > 50
