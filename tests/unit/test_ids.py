"""Ids are given once, whoever asks for them at the same time."""

import os
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from uuid import RFC_4122, UUID

from streams.ids import ALPHABET, DRAWS, RANDOM_CHARACTERS, Draws, new_job_id, random_ends


def test_threads_are_given_different_ids() -> None:
    with ThreadPoolExecutor(8) as threads:
        ids = list(threads.map(new_job_id, [1] * (20 * DRAWS)))
    assert len(set(ids)) == len(ids)
    assert len({job_id[:12] for job_id in ids}) == 1  # of one millisecond, so they begin alike


def test_a_forked_child_does_not_repeat_its_parent() -> None:
    draws = Draws()
    draws()  # there is a stock
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of 3.12, where there are threads
        child = os.fork()
    if child == 0:
        os.write(writing, str(draws()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    said = os.read(reading, 100)
    os.close(reading)
    assert said.decode() != draws()


def test_an_id_is_a_uuid_of_version_7_with_its_time() -> None:
    now_ms = 1_795_000_000_123
    for _ in range(500):
        _, _, said = new_job_id(now_ms).partition("-")
        value = 0
        for character in said:
            value = value << 5 | ALPHABET.index(character)
        made = UUID(int=value)
        assert (made.version, made.variant) == (7, RFC_4122)
        assert value >> 80 == now_ms


def test_every_random_bit_of_an_id_may_be_0_or_1() -> None:
    ends = [random_ends(bytes([byte]) * RANDOM_CHARACTERS)[0] for byte in range(256)]
    counts = [Counter(end[place] for end in ends) for place in range(RANDOM_CHARACTERS)]
    assert [len(each) for each in counts] == [2, 32, 32, 8] + [32] * 12  # 1 + 5 + 5 + 3 + 60 bits
    assert all(len(set(each.values())) == 1 for each in counts)  # and each as often
