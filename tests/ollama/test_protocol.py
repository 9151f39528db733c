"""The simulator speaks to the real `ollama` client as Ollama does."""

import asyncio
import json
from typing import Any

import httpx
import jsonschema_rs
import ollama
import pytest

from ops.sim_ollama import SimConfig, fixture_key
from tests.ollama.simulated import BIG, SMALL, THINKER, Sim, Simulated, failure, small_models

HELLO = [{"role": "user", "content": "Hvad er klokken?"}]
COUNTERS = {
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
}


async def streamed(client: ollama.AsyncClient, **options: Any) -> list[ollama.ChatResponse]:
    parts = await client.chat(SMALL, HELLO, stream=True, **options)
    return [part async for part in parts]


async def raw(sim: Sim, method: str, path: str, **options: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=sim.url, trust_env=False) as http:
        return await http.request(method, path, **options)


async def test_a_streamed_chat_ends_with_its_counters(sim: Sim) -> None:
    async with sim.client() as client:
        *parts, last = await streamed(client)
    assert all(not part.done and part.message.content for part in parts)
    assert last.done
    assert last.done_reason == "stop"
    assert last.message.content == ""
    assert last.eval_count == len(parts)
    assert last.prompt_eval_count == 4
    assert last.eval_duration == pytest.approx(len(parts) / 100 * 1e9)


async def test_chat_and_generate_say_the_same_streamed_or_whole(sim: Sim) -> None:
    options = {"temperature": 0}
    async with sim.client() as client:
        whole = await client.chat(SMALL, HELLO, options=options)
        parts = await streamed(client, options=options)
        generated = await client.generate(SMALL, HELLO[0]["content"], options=options)
    assert "".join(part.message.content or "" for part in parts) == whole.message.content
    assert generated.response == whole.message.content


async def test_a_line_is_one_json_object_and_counters_of_zero_are_left_out(sim: Sim) -> None:
    async with sim.client() as client:
        await client.generate(SMALL)
    response = await raw(sim, "POST", "/api/generate", json={"model": SMALL, "prompt": "Hi"})
    assert response.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert set(lines[0]) == {"model", "created_at", "response", "done"}
    assert set(lines[-1]) - {*lines[0], "done_reason"} <= COUNTERS
    assert lines[-1]["created_at"].endswith("Z")
    loaded = await raw(sim, "POST", "/api/generate", json={"model": SMALL})
    assert set(loaded.json()) == {"model", "created_at", "response", "done", "done_reason"}


async def test_num_predict_cuts_with_length(sim: Sim) -> None:
    async with sim.client() as client:
        answer = await client.generate(SMALL, "Fortæl", options={"num_predict": 5})
    assert (answer.done_reason, answer.eval_count) == ("length", 5)


async def test_a_seed_and_temperature_zero_repeat_the_text(sim: Sim) -> None:
    options = {"temperature": 0, "seed": 7}
    async with sim.client() as client:
        first = await client.generate(SMALL, "Tell me", options=options)
        again = await client.generate(SMALL, "Tell me", options=options)
        other = await client.generate(SMALL, "Tell me", options={**options, "seed": 8})
    assert first.response == again.response != other.response


async def test_a_schema_gets_a_valid_instance(sim: Sim) -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "kind": {"enum": ["concert", "market"]},
            "price": {"anyOf": [{"type": "integer", "minimum": 50, "maximum": 60}]},
            "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 4},
            "venue": {"$ref": "#/$defs/venue"},
        },
        "required": ["kind", "price", "tags", "venue"],
        "$defs": {"venue": {"type": "object", "properties": {"name": {"type": "string"}}}},
    }
    async with sim.client() as client:
        answer = await client.chat(SMALL, HELLO, format=schema)
    jsonschema_rs.validate(schema, json.loads(answer.message.content or ""))


async def test_a_fixture_is_said_word_by_word(simulated: Simulated) -> None:
    key = fixture_key(SMALL, [("user", "Hej")])
    sim = simulated.start(SimConfig(small_models(), speed=50, fixtures={key: "Hej med dig! æøå"}))
    async with sim.client() as client:
        assert (await client.generate(SMALL, "Hej")).response == "Hej med dig! æøå"


async def test_a_thinking_model_thinks_first_unless_told_not_to(sim: Sim) -> None:
    async with sim.client() as client:
        parts = [p async for p in await client.chat(THINKER, HELLO, stream=True)]
        plain = await client.chat(THINKER, HELLO, think=False)
    assert parts[0].message.thinking
    assert not parts[0].message.content
    assert plain.message.thinking is None


async def test_embeddings_are_stable_and_of_length_one(sim: Sim) -> None:
    async with sim.client() as client:
        both = await client.embed("embed", ["fjord", "havn"])
        alone = await client.embed("embed", "fjord")
    assert both.embeddings[0] == alone.embeddings[0] != both.embeddings[1]
    assert sum(value * value for value in alone.embeddings[0]) == pytest.approx(1)


async def test_the_lists_and_the_version(sim: Sim) -> None:
    async with sim.client() as client:
        tags = await client.list()
        shown = await client.show(SMALL)
    assert [model.model for model in tags.models] == list(small_models())
    assert shown.capabilities == ["completion", "tools"]
    assert (await raw(sim, "GET", "/api/version")).json() == {"version": "0.33.0"}
    assert (await raw(sim, "GET", "/")).text == "Ollama is running"
    assert (await raw(sim, "HEAD", "/")).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("/api/chat", None, 400, "missing request body"),
        ("/api/chat", {"messages": []}, 400, "model is required"),
        ("/api/chat", {"model": "nix", "messages": HELLO}, 404, "model 'nix' not found"),
        ("/api/generate", {"model": "nix", "prompt": "x"}, 404, "model 'nix' not found"),
        ("/api/show", {"model": "nix"}, 404, "model 'nix' not found"),
        (
            "/api/embed",
            {"model": "nix", "input": "x"},
            404,
            'model "nix" not found, try pulling it first',
        ),
        ("/api/embed", {"model": "embed", "input": 3}, 400, "invalid input type"),
        (
            "/api/chat",
            {"model": "embed", "messages": HELLO},
            400,
            '"embed" does not support chat',
        ),
        (
            "/api/chat",
            {"model": SMALL, "messages": HELLO, "think": True},
            400,
            f'"{SMALL}" does not support thinking',
        ),
        (
            "/api/generate",
            {"model": SMALL, "prompt": "x", "keep_alive": "soon"},
            400,
            'time: invalid duration "soon"',
        ),
        (
            "/api/generate",
            {"model": SMALL, "prompt": "x", "format": {"type": "soup"}},
            400,
            "failed to parse grammar: unknown type soup",
        ),
    ],
)
async def test_an_error_has_the_status_and_text_of_ollama(
    sim: Sim, path: str, body: Any, status: int, text: str
) -> None:
    content = b"" if body is None else json.dumps(body).encode()
    response = await raw(sim, "POST", path, content=content)
    assert (response.status_code, response.json()) == (status, {"error": text})


async def test_a_wrong_method_or_host_is_refused(sim: Sim) -> None:
    assert (await raw(sim, "GET", "/api/chat")).status_code == 405
    refused = await raw(sim, "GET", "/api/tags", headers={"host": "evil.example"})
    assert (refused.status_code, refused.content) == (403, b"")


# What the Python client raises, row by row.


@pytest.mark.parametrize("stream", [True, False])
async def test_an_http_error_becomes_a_response_error(sim: Sim, stream: bool) -> None:
    await sim.fault("http", arg=500, text="llama-server process has terminated")
    async with sim.client() as client:
        error = await failure(streamed(client) if stream else client.chat(SMALL, HELLO))
    assert isinstance(error, ollama.ResponseError)
    assert (error.status_code, error.error) == (500, "llama-server process has terminated")


async def test_a_list_as_error_body_trips_the_client(sim: Sim) -> None:
    await sim.fault("list_body", arg=502)
    async with sim.client() as client:
        assert isinstance(await failure(client.chat(SMALL, HELLO)), AttributeError)


async def test_an_error_line_in_a_stream_has_no_status(sim: Sim) -> None:
    await sim.fault("error_line", arg=3)
    async with sim.client() as client:
        error = await failure(streamed(client))
    assert isinstance(error, ollama.ResponseError)
    assert error.status_code == -1
    assert error.error.startswith("an error was encountered while running the model: ")


async def test_a_refused_connection_differs_with_streaming(sim: Sim) -> None:
    await sim.fault("refuse", arg=0.5)
    async with sim.client() as client:
        limit = asyncio.get_running_loop().time() + 5
        while not isinstance(error := await _tried(client), ConnectionError):
            assert asyncio.get_running_loop().time() < limit, error
        assert isinstance(await failure(streamed(client)), httpx.ConnectError)


async def _tried(client: ollama.AsyncClient) -> object:
    """An error or, while the listener is still there, an answer."""
    try:
        return await client.list()
    except (ConnectionError, httpx.TransportError) as error:
        return error


async def test_a_cut_connection_is_a_transport_error(sim: Sim) -> None:
    await sim.fault("reset_mid", arg=3)
    async with sim.client() as client:
        error = await failure(streamed(client))
    assert isinstance(error, httpx.RemoteProtocolError | httpx.ReadError)


async def test_silence_is_a_read_timeout(sim: Sim) -> None:
    await sim.fault("hang_mid", arg=2)
    async with sim.client(timeout=0.5) as client:
        assert isinstance(await failure(streamed(client)), httpx.ReadTimeout)


@pytest.mark.parametrize("kind", ["garbage_line", "blank_line"])
async def test_a_line_that_is_none_is_a_json_error(sim: Sim, kind: str) -> None:
    await sim.fault(kind, arg=2)
    async with sim.client() as client:
        assert isinstance(await failure(streamed(client)), json.JSONDecodeError)


async def test_a_stream_without_done_raises_nothing(sim: Sim) -> None:
    await sim.fault("no_done", arg=3, times=2)
    async with sim.client() as client:
        parts = await streamed(client)
        whole = await client.chat(SMALL, HELLO)
    assert [part.done for part in parts] == [False, False, False]
    assert whole.done is False


async def test_a_schema_can_be_ignored_and_json_cut(sim: Sim) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    async with sim.client() as client:
        await sim.fault("schema_ignored")
        ignored = await client.chat(SMALL, HELLO, format=schema)
        await sim.fault("cut_json")
        cut = await client.chat(SMALL, HELLO, format=schema)
    for answer in (ignored, cut):
        with pytest.raises(json.JSONDecodeError):
            json.loads(answer.message.content or "")
    assert cut.done_reason == "length"


async def test_faults_match_route_model_and_count(sim: Sim) -> None:
    match = {"route": "/api/generate", "model": SMALL, "nth": 2}
    await sim.fault("not_found", match=match)
    async with sim.client() as client:
        await client.generate(BIG, "x")
        await client.chat(SMALL, HELLO)
        await client.generate(SMALL, "x")
        error = await failure(client.generate(SMALL, "x"))
        await client.generate(SMALL, "x")
    assert isinstance(error, ollama.ResponseError)
    assert error.status_code == 404


async def test_pulling_tells_how_far_it_is_and_deleting_makes_it_unknown(sim: Sim) -> None:
    async with sim.client() as client:
        before = {model.model: model.digest for model in (await client.list()).models}
        await client.delete(SMALL)
        assert SMALL not in [model.model for model in (await client.list()).models]
        said = [line async for line in await client.pull(SMALL, stream=True)]
        after = {model.model: model.digest for model in (await client.list()).models}
    assert [said[0].status, said[-1].status] == ["pulling manifest", "success"]
    layers = [line for line in said if line.digest]
    assert layers[0].status == f"pulling {str(layers[0].digest).removeprefix('sha256:')[:12]}"
    assert layers[0].completed < layers[1].completed <= layers[1].total  # type: ignore[operator]
    assert after.keys() == before.keys()
    assert after[SMALL] != before[SMALL]


async def test_what_cannot_be_pulled_or_deleted(sim: Sim) -> None:
    async with sim.client() as client:
        with pytest.raises(ollama.ResponseError, match="file does not exist"):
            async for _ in await client.pull("nobody/knows", stream=True):
                pass
        with pytest.raises(ollama.ResponseError, match="file does not exist") as whole:
            await client.pull("nobody/knows")
        assert whole.value.status_code == 500
        await sim.fault("error_line", match={"route": "/api/pull"})
        with pytest.raises(ollama.ResponseError, match="max retries exceeded"):
            async for _ in await client.pull(SMALL, stream=True):
                pass
        with pytest.raises(ollama.ResponseError, match="not found") as gone:
            await client.delete("absent:1b")
        assert gone.value.status_code == 404
