import asyncio

import msgspec
import pytest

from processors.builtin.echo import EchoIn, echo
from processors.sdk import Cache, Context, InvalidInput, Manifest, Rejected, processor
from processors.sdk.declaration import InvalidResult
from processors.sdk.testing import Line, Step, run_processor
from streams.errors import ConfigError, TimedOut


class Given(msgspec.Struct):
    url: str


class FakeHttp:
    async def get(self, url: str) -> str:
        return f"page of {url}"


def declared(*dependencies):
    return processor(
        Manifest(name="reader", version="1", summary="Reads.", dependencies=dependencies)
    )


@declared("http", "cache")
async def read(given: Given, context: Context) -> str:
    cache = context.need("cache", Cache)
    context.log.info("reading", url=given.url)
    context.progress(None, "half way")
    cache.put(given.url, "known")
    return f"{await context.http.get(given.url)}, {cache.get(given.url)}"


async def test_a_processor_runs_with_fakes_and_what_it_says_is_kept():
    ending = await run_processor(read, {"url": "x"}, http=FakeHttp())
    assert ending.result == "page of x, known"
    assert ending.lines == [Line("info", "reading", {"url": "x"})]
    assert ending.progress == [Step(None, "half way")]


async def test_a_missing_fake_and_one_too_many_are_named():
    with pytest.raises(ConfigError, match="processor 'reader' needs a fake for http"):
        await run_processor(read, {"url": "x"})
    with pytest.raises(ConfigError, match="processor 'reader' does not declare 'ollama'"):
        await run_processor(read, {"url": "x"}, http=FakeHttp(), ollama=object())


async def test_the_payload_takes_the_way_through_json():
    ending = await run_processor(read, {"url": 3}, http=FakeHttp())
    assert isinstance(ending.error, InvalidInput)
    with pytest.raises(InvalidInput, match=r"\$.url"):
        _ = ending.result


async def test_the_result_must_be_of_its_declared_type():
    @declared()
    def liar(given: Given) -> int:
        return "three"

    ending = await run_processor(liar, Given("x"))
    assert isinstance(ending.error, InvalidResult)


async def test_an_error_is_kept_with_what_was_said_before_it():
    @declared()
    def fussy(given: Given, context: Context) -> int:
        context.log.warning("blank")
        raise Rejected("the url is blank")

    ending = await run_processor(fussy, Given(""))
    assert isinstance(ending.error, Rejected)
    assert ending.lines == [Line("warning", "blank", {})]


async def test_a_processor_that_hangs_does_not_hang_the_test():
    @declared()
    async def hung(given: Given) -> int:
        return await asyncio.Event().wait()

    ending = await run_processor(hung, Given("x"), timeout_s=0.01)
    assert isinstance(ending.error, TimedOut)


async def test_a_timeout_of_the_processors_own_is_not_the_deadline():
    @declared()
    async def impatient(given: Given) -> int:
        raise TimeoutError("of its own")

    ending = await run_processor(impatient, Given("x"))
    assert str(ending.error) == "of its own"


async def test_a_processor_is_found_by_name_in_the_product_and_in_folders(tmp_path):
    (tmp_path / "length.py").write_text(
        "import msgspec\n"
        "from processors.sdk import Manifest, processor\n"
        "class Given(msgspec.Struct):\n"
        "    text: str\n"
        "@processor(Manifest(name='length', version='1', summary='Length.'))\n"
        "def length(given: Given) -> int:\n"
        "    return len(given.text)\n"
    )
    assert (await run_processor("length", {"text": "hej"}, folders=[tmp_path])).result == 3
    assert (await run_processor("echo", EchoIn("hej"))).result["message"] == "hej"
    with pytest.raises(ConfigError, match="'unheard-of' is no processor"):
        await run_processor("unheard-of", {})
    with pytest.raises(ConfigError, match="is no processor"):
        await run_processor(print, {})


async def test_the_context_knows_attempt_deadline_and_app():
    @declared()
    def who(given: Given, context: Context) -> dict[str, object]:
        return {
            "attempt": context.attempt,
            "last": context.is_last_attempt,
            "app": context.app,
            "tags": context.tags,
            "left": 0 < context.remaining_s <= 5,
            "cancelled": context.cancelled,
        }

    known = {"app": "test", "tags": [], "left": True, "cancelled": False}
    ending = await run_processor(who, Given("x"), attempt=2, timeout_s=5)
    assert ending.result == {"attempt": 2, "last": False, **known}
    ending = await run_processor(who, Given("x"), attempt=3, timeout_s=5)
    assert ending.result == {"attempt": 3, "last": True, **known}


async def test_echo_is_what_it_was_before_it_was_declared():
    assert echo.__name__ == "echo"
    assert (await run_processor(echo, EchoIn("x"))).result["attempt"] == 1
