"""The processor, over a page that comes along and over one it fetches from loopback."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

import processors.builtin
from processors.builtin.govejle_page import PageIn, govejle_page, local_day
from processors.dependencies.guard import GuardSettings, Refused
from processors.dependencies.http import HttpProvider
from processors.sdk.testing import run_processor
from streams.errors import InvalidInput, Rejected
from tests.web.local_server import local_server, response

SAMPLES = Path(processors.builtin.__file__).parent / "samples" / "govejle-page"


class Unused:
    """Stands for http where nothing may be fetched."""

    async def get(self, url: str) -> object:
        raise AssertionError(f"fetched {url}")


async def test_a_page_that_comes_along_is_read_without_fetching() -> None:
    payload = (SAMPLES / "html.json").read_bytes()
    ending = await run_processor(govejle_page, payload, http=Unused())
    result = ending.result
    assert isinstance(result, dict)
    assert result["event_id"] == "gv-1043"
    assert result["event"]["start_local"] == "2027-02-25T17:00:00+01:00"
    assert result["event"]["is_free"] is True
    assert result["provenance"]["start_local"] == "text"


async def test_a_page_without_a_time_is_read_as_of_the_jobs_submit() -> None:
    html = "<title>X</title><main><h1>X</h1><p>Torsdag d. 25. februar kl. 17.00</p></main>"
    given = PageIn("gv-1", "https://vejle.example/1", html=html)
    ending = await run_processor(govejle_page, given, http=Unused())
    assert isinstance(ending.result, dict)
    # The kit's jobs are submitted as 1970 begins; the next 25 February on a Thursday is in 1971.
    assert ending.result["event"]["start_local"].startswith("1971-02-25T17:00")


async def test_a_page_is_fetched_through_the_guard_and_read() -> None:
    page = (SAMPLES / "pages" / "bygningen-gormsgade.html").read_bytes()
    async with local_server(response(404)) as server:
        server.routes["/gormsgade"] = response(200, page, Content_Type="text/html")
        provider = HttpProvider(allowed=GuardSettings(("127.0.0.1/32",), (server.port,)))
        await provider.open()
        http = provider.inject(None)  # type: ignore[arg-type]  # no attempt: nothing to untime
        given = PageIn("gv-1", server.origin + "/gormsgade", known={"title": "Noget andet"})
        ending = await run_processor(govejle_page, given, http=http)
        missing = PageIn("gv-2", server.origin + "/findes-ikke")
        gone = await run_processor(govejle_page, missing, http=http)
        await provider.close()
    result = ending.result
    assert isinstance(result, dict)
    assert result["event"]["title"] == "Gormsgade & venner"
    assert result["canonical_url"] == server.origin + "/koncerter/gormsgade"
    assert result["warnings"] == [
        "title: the app knows 'Noget andet', the page says 'Gormsgade & venner'"
    ]
    assert isinstance(gone.error, Rejected)


async def test_a_page_inside_is_refused() -> None:
    provider = HttpProvider()
    await provider.open()
    http = provider.inject(None)  # type: ignore[arg-type]  # no attempt: nothing to untime
    given = PageIn("gv-1", "http://169.254.169.254/latest/meta-data")
    ending = await run_processor(govejle_page, given, http=http)
    await provider.close()
    assert isinstance(ending.error, Refused)


@pytest.mark.parametrize(
    "payload",
    [
        {"url": "https://a.example/"},
        {"event_id": "", "url": "https://a.example/"},
        {"event_id": "1", "url": "file:///etc/passwd"},
        {"event_id": "1", "url": "https://a.example/", "known": {"title": 1}},
        {"event_id": "1", "url": "https://a.example/", "fetched_at": "i går"},
        {"event_id": "1", "url": "https://a.example/", "other": 1},
    ],
)
async def test_wrong_input_is_refused(payload: dict[str, object]) -> None:
    raw = json.dumps(payload).encode()
    ending = await run_processor(govejle_page, raw, http=Unused())
    assert isinstance(ending.error, InvalidInput)


def test_the_day_is_that_of_vejle() -> None:
    late = datetime(2026, 12, 31, 23, 30, tzinfo=UTC)
    assert local_day(late).isoformat() == "2027-01-01"
    assert local_day(late.replace(tzinfo=None)).isoformat() == "2026-12-31"
