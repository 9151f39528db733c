"""Ids are given once, whoever asks for them at the same time."""

import os
import warnings
from concurrent.futures import ThreadPoolExecutor

from streams.ids import DRAWS, Draws, new_job_id


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
    assert int(said) != draws()
