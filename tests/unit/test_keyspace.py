"""Every key is spelled in one place, under one hash tag."""

import pytest

from streams.keyspace import PLAIN, PREFIXES, Keyspace, lease_member, pool_of
from streams.model import Lane, Priority, ResourceClass


@pytest.mark.parametrize("name", sorted(PLAIN | PREFIXES))
def test_every_key_bears_the_hash_tag(name: str) -> None:
    assert Keyspace("shop").key(name).startswith("{shop}:")


@pytest.mark.parametrize(
    ("key", "spelled"),
    [
        (Keyspace().key("counts"), "{rn}:counts"),
        (Keyspace().job("0-a"), "{rn}:job:0-a"),
        (Keyspace().payload("0-a"), "{rn}:payload:0-a"),
        (Keyspace().result("0-a"), "{rn}:result:0-a"),
        (Keyspace().staged("0-a", "t"), "{rn}:staged:0-a:t"),
        (Keyspace("x").stream("io:a:high:echo:"), "{x}:stream:io:a:high:echo:"),
        (lease_member("io:a:high:echo:", "1-0"), "io:a:high:echo:|1-0"),
        (pool_of("io"), "io"),
        (pool_of("ollama", "mac"), "ollama@mac"),
    ],
)
def test_keys_are_spelled_so(key: str, spelled: str) -> None:
    assert key == spelled


@pytest.mark.parametrize(("name", "suffix"), [("nonsense", ""), ("counts", "x"), ("job", "")])
def test_a_name_that_is_not_in_the_table_is_refused(name: str, suffix: str) -> None:
    with pytest.raises(KeyError):
        Keyspace().key(name, suffix)


def test_no_two_names_spell_one_key() -> None:
    spelled = [Keyspace().key(name) for name in PLAIN]
    spelled += [Keyspace().key(name, "x") for name in PREFIXES]
    assert len(set(spelled)) == len(PLAIN) + len(PREFIXES)


@pytest.mark.parametrize("model", ["", "qwen3:8b", "hf.co/a/b:Q4_K_M"])
def test_a_lane_is_its_name(model: str) -> None:
    lane = Lane(ResourceClass.OLLAMA, "etyde", Priority.LOW, "ask", model)
    assert Lane.parse(lane.name) == lane


@pytest.mark.parametrize("name", ["", "io", "io:a:high:echo", "gpu:a:high:echo:", "io:a:now:echo:"])
def test_what_is_no_lanes_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"unpack|not a valid"):
        Lane.parse(name)
