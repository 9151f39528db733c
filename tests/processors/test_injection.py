import asyncio

import pytest

from processors.dependencies.cache import CacheProvider, Store
from processors.dependencies.log import LogProvider
from processors.sdk import Context, Manifest, processor
from processors.sdk.injection import Injector
from processors.sdk.testing import fake_attempt
from streams.errors import ConfigError, Unavailable
from streams.model import ResourceClass
from tests.processors.fixtures.on_the_loop import Given
from tests.processors.support import processor_of

IO, OLLAMA = ResourceClass.IO, ResourceClass.OLLAMA


class Recorded:
    """A provider that writes down what is done with it, and fails where it is told to."""

    def __init__(self, name, journal, classes=(IO,), *, fails=None, hangs=False):
        self.name = name
        self.classes = frozenset(classes)
        self._journal = journal
        self._fails = fails
        self._hangs = hangs

    async def open(self):
        self._journal.append(f"open {self.name}")

    async def check(self):
        self._journal.append(f"check {self.name}")
        if self._fails:
            raise self._fails
        if self._hangs:
            await asyncio.Event().wait()

    def inject(self, attempt):
        return f"{self.name} for {attempt.lease.job_id}"

    async def close(self):
        self._journal.append(f"close {self.name}")
        if self.name == "sour":
            raise OSError("will not close")


def needing(*dependencies, name="needy", resource_class=IO):
    def needy(given: Given, context: Context) -> str:
        return ""

    manifest = Manifest(
        name=name,
        version="1",
        summary="Needs things.",
        resource_class=resource_class,
        dependencies=dependencies,
    )
    return processor_of(processor(manifest)(needy))


async def refused(providers, *processors, check_s=5.0):
    with pytest.raises(ConfigError) as caught:
        await Injector(providers).open(processors, check_s)
    return str(caught.value)


async def test_an_unknown_dependency_is_named_with_its_processor():
    said = await refused([LogProvider()], needing("htpp"))
    assert said == "processor 'needy': unknown dependency 'htpp' (known: log)"


async def test_a_dependency_of_another_class_is_refused():
    providers = [Recorded("ollama", [], [OLLAMA])]
    await Injector(providers).open([needing("ollama", resource_class=OLLAMA)], 5)
    said = await refused(providers, needing("ollama"))
    assert said == (
        "processor 'needy': the dependency 'ollama' is for class ollama only, not for class io"
    )


async def test_only_log_and_cache_can_be_in_a_child_whatever_a_provider_says():
    providers = [LogProvider(), CacheProvider(), Recorded("http", [], ResourceClass)]
    await Injector(providers).open([needing("log", "cache", resource_class="cpu")], 5)
    said = await refused(providers, needing("http", resource_class="cpu"))
    assert "the dependency 'http' is for class io, ollama only, not for class cpu" in said


async def test_an_unreachable_dependency_is_named_with_its_processors_and_closed_again():
    journal = []
    providers = [
        Recorded("first", journal),
        Recorded("away", journal, fails=Unavailable("127.0.0.1:9 refused the connection")),
        Recorded("third", journal),
    ]
    users = [needing("first", "away", name="a"), needing("away", "third", name="b")]
    said = await refused(providers, *users)
    assert said == (
        "processors 'a', 'b': the dependency 'away' is not reachable: "
        "127.0.0.1:9 refused the connection"
    )
    assert journal == [
        "open first",
        "check first",
        "open away",
        "check away",
        "close away",
        "close first",
    ]


async def test_a_dependency_that_does_not_answer_in_time_is_unreachable():
    said = await refused([Recorded("slow", [], hangs=True)], needing("slow"), check_s=0.02)
    assert said.endswith("the dependency 'slow' is not reachable: no answer in 0.02 s")


async def test_what_nobody_declares_is_not_opened():
    journal = []
    await Injector([Recorded("idle", journal)]).open([needing()], 5)
    assert journal == []


async def test_one_that_will_not_close_does_not_keep_the_others_open(caplog):
    journal = []
    injector = Injector([Recorded("plain", journal), Recorded("sour", journal)])
    await injector.open([needing("plain", "sour")], 5)
    await injector.close()
    assert journal[-2:] == ["close sour", "close plain"]
    assert "a dependency did not close" in caplog.text


def test_two_dependencies_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="two dependencies are named 'log'"):
        Injector([LogProvider(), LogProvider()])


def test_an_attempt_gets_what_its_manifest_names_and_nothing_else():
    needy = needing("http")
    attempt = fake_attempt(needy, {})
    injector = Injector([Recorded("http", []), Recorded("other", [])])
    context = Context(attempt, injector.values(needy.manifest, attempt))
    assert context.http == context.need("http", str) == f"http for {attempt.lease.job_id}"
    with pytest.raises(ConfigError, match="'needy' does not declare a dependency 'other'"):
        context.need("other", str)
    with pytest.raises(AttributeError, match="'needy' does not declare a dependency 'other'"):
        _ = context.other


class Hand:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self):
        return self.now


def test_a_cached_value_expires():
    hand = Hand()
    store = Store(monotonic=hand)
    store.put(("p", "k"), "value", ttl_s=10)
    hand.now = 9.9
    assert store.get(("p", "k")) == "value"
    hand.now = 10
    assert store.get(("p", "k")) is None


def test_a_full_cache_lets_go_of_the_longest_unused():
    store = Store(entries_max=2)
    for key in ("a", "b"):
        store.put(("p", key), key, ttl_s=10)
    store.get(("p", "a"))
    store.put(("p", "c"), "c", ttl_s=10)
    assert [store.get(("p", key)) for key in ("a", "b", "c")] == ["a", None, "c"]


def test_a_processor_does_not_see_another_ones_cache():
    provider = CacheProvider()
    mine, other = (fake_attempt(needing("cache", name=name), {}) for name in ("mine", "other"))
    provider.inject(mine).put("k", 1)
    assert provider.inject(mine).get("k") == 1
    assert provider.inject(other).get("k") is None
