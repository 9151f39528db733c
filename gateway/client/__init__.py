"""A client of the gateway's API, synchronous and asynchronous.

    with Client("http://127.0.0.1:8470", key) as jobs:
        submitted = jobs.submit("echo", {"text": "hi"})
        print(jobs.wait(submitted.id).state)

A submit always carries an idempotency key, so it is tried again after a lost answer without
making a second job. What is not safe to repeat is sent once.
"""

from gateway.client.blocking import Client
from gateway.client.following import Begun, Cut, Ended, Said, Text
from gateway.client.nonblocking import AsyncClient
from gateway.client.requests import Refused, verify_callback

__all__ = [
    "AsyncClient",
    "Begun",
    "Client",
    "Cut",
    "Ended",
    "Refused",
    "Said",
    "Text",
    "verify_callback",
]
