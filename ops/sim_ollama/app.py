"""The routes of the simulator, and its own under `/_sim`."""

import hashlib
import ipaddress
import random
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ops.sim_ollama.answering import Answerer
from ops.sim_ollama.clock import ScaledClock, timestamp
from ops.sim_ollama.faults import Fault, Faults, FaultTable, Kind
from ops.sim_ollama.inference import Inference, ListBody, ordered_status, while_connected
from ops.sim_ollama.library import Library
from ops.sim_ollama.log import SimLog
from ops.sim_ollama.models import SimConfig, full_name
from ops.sim_ollama.scheduler import Busy, LoadFailed, Runner, Scheduler, Wanted
from ops.sim_ollama.text import token_count
from ops.sim_ollama.wire import Problem, parse_asked, parse_body, parse_keep_alive

EMBEDDING_DIMENSIONS = 64
FOR_EVER_S = 9_223_372_036.0  # the longest Go duration: keep_alive -1 expires in 292 years
MODIFIED_AT = "2026-10-01T08:00:00.000000000Z"

Endpoint = Callable[[Request], Awaitable[Response]]
PowerCut = Callable[[float, bool], None]  # seconds without a listener, whether models are lost


def build(config: SimConfig | None = None, power_cut: PowerCut | None = None) -> Starlette:
    """The simulator as an ASGI app. `power_cut` does what an app cannot: close its listener."""
    return _Sim(config or SimConfig(), power_cut).app()


class _Sim:
    def __init__(self, config: SimConfig, power_cut: PowerCut | None) -> None:
        config = msgspec.structs.replace(config, models=dict(config.models))
        self._config = config
        self._power_cut = power_cut
        self._clock = ScaledClock(config.speed)
        self._log = SimLog()
        rng = random.Random(config.seed)
        self._faults = FaultTable(rng)
        self._scheduler = Scheduler(config, self._clock, self._log, rng)
        self._answerer = Answerer(config, self._clock, self._scheduler)
        self._library = Library(config.models, self._clock)

    def app(self) -> Starlette:
        routes = [
            Route("/", _root, methods=["GET"]),
            Route("/api/version", self._answering(self.version), methods=["GET"]),
            Route("/api/tags", self._answering(self.tags), methods=["GET"]),
            Route("/api/ps", self._answering(self.ps), methods=["GET"]),
            Route("/api/show", self._answering(self.show), methods=["POST"]),
            Route("/api/generate", self.infer, methods=["POST"]),
            Route("/api/chat", self.infer, methods=["POST"]),
            Route("/api/embed", self.embed, methods=["POST"]),
            Route("/api/pull", self.pull, methods=["POST"]),
            Route("/api/delete", self.delete, methods=["DELETE"]),
            Route("/_sim/faults", self.faults, methods=["GET", "POST", "DELETE"]),
            Route("/_sim/log", self.log, methods=["GET"]),
            Route("/_sim/state", self.state, methods=["GET"]),
            Route("/_sim/reset", self.reset, methods=["POST"]),
            Route("/_sim/restart", self.restart, methods=["POST"]),
        ]
        return Starlette(routes=routes, middleware=[Middleware(HostCheck)])

    def _answering(self, answer: Callable[[Request], Awaitable[object]]) -> Endpoint:
        """An endpoint of a plain JSON answer, with the faults that apply to any route."""

        async def endpoint(request: Request) -> Response:
            faults = self._faults.draw(request.url.path)
            try:
                ordered_status(faults)
                if Kind.HANG_BEFORE_HEADERS in faults:
                    await request.receive()  # until the client gives up
                return _json(200, await answer(request))
            except Problem as problem:
                return _problem(problem)
            except ListBody as odd:
                return _json(odd.status, [odd.text])

        return endpoint

    async def version(self, request: Request) -> object:
        return {"version": self._config.version}

    async def tags(self, request: Request) -> object:
        return {"models": [self._tag(name) for name in self._config.models]}

    async def ps(self, request: Request) -> object:
        runners = sorted(self._scheduler.resident.values(), key=self._left_s, reverse=True)
        return {"models": [self._resident(runner) for runner in runners]}

    async def show(self, request: Request) -> object:
        name = str(parse_body(await request.body()).get("model", ""))
        spec = self._config.models.get(full_name(name))
        if spec is None:
            raise Problem(404, f"model '{name}' not found")
        return {
            "modelfile": f"FROM {name}",
            "parameters": "",
            "template": "{{ .Prompt }}",
            "details": spec.details(),
            "model_info": {"general.architecture": spec.family},
            "capabilities": spec.capabilities,
            "modified_at": MODIFIED_AT,
        }

    async def infer(self, request: Request) -> Response | Inference:
        """generate and chat; the response object does the waiting."""
        try:
            asked = parse_asked(request.url.path, parse_body(await request.body()))
            faults = self._draw(asked.route, asked.model)
        except Problem as problem:
            return _problem(problem)
        return Inference(asked, faults, self._answerer, self._log, self._clock)

    async def pull(self, request: Request) -> Response:
        faults = self._faults.draw("/api/pull")
        try:
            ordered_status(faults)
            return await self._library.pull(await request.body(), faults)
        except Problem as problem:
            return _problem(problem)

    async def delete(self, request: Request) -> Response:
        try:
            name = self._library.delete(await request.body())
        except Problem as problem:
            return _problem(problem)
        self._scheduler.expire(name)
        return Response(status_code=200)

    async def embed(self, request: Request) -> Response:
        body = await request.body()
        answers: list[Response] = []

        async def work() -> None:
            answers.append(await self._embedded(body))

        await while_connected(request.receive, work())
        return answers[0] if answers else Response(status_code=499)

    async def _embedded(self, raw: bytes) -> Response:
        try:
            body = parse_body(raw)
            model = str(body.get("model", ""))
            faults = self._draw("/api/embed", model)
            visit = self._log.arrive("/api/embed", model, self._clock.now())
        except Problem as problem:
            return _problem(problem)
        status, ending = 499, "disconnected"
        try:
            ordered_status(faults)
            answer = await self._embeddings(body, model, faults)
            status, ending = 200, "stop"
            return _json(200, answer)
        except Problem as problem:
            status, ending = problem.status, "error"
            return _problem(problem)
        finally:
            self._log.leave(visit, status, ending, self._clock.now())

    async def _embeddings(self, body: dict[str, Any], model: str, faults: Faults) -> object:
        texts = _texts(body.get("input"))
        spec = self._config.models.get(full_name(model))
        if spec is None or Kind.NOT_FOUND in faults:
            raise Problem(404, f'model "{model}" not found, try pulling it first')
        keep_alive_s = parse_keep_alive(body.get("keep_alive"))
        wanted = Wanted(
            full_name(model),
            (("num_ctx", int((body.get("options") or {}).get("num_ctx", self._config.num_ctx))),),
            self._config.keep_alive_s if keep_alive_s is None else keep_alive_s,
        )
        arrived = self._clock.now()
        tokens = sum(token_count(text) for text in texts)
        try:
            async with self._scheduler.runner(wanted, faults) as runner, runner.slots:
                load_s = self._clock.now() - arrived
                await self._clock.sleep(tokens / spec.prompt_tokens_per_s)
        except Busy as error:
            raise Problem(503, str(error)) from error
        except LoadFailed as error:
            raise Problem(500, str(error)) from error
        return {
            "model": model,
            "embeddings": [_vector(model, text) for text in texts],
            "total_duration": int((load_s + tokens / spec.prompt_tokens_per_s) * 1e9),
            "load_duration": int(load_s * 1e9),
            "prompt_eval_count": tokens,
        }

    def _draw(self, route: str, model: str) -> Faults:
        """The faults of a request; those that are about the server take effect here."""
        faults = self._faults.draw(route, model)
        if restart := faults.get(Kind.RESTART):
            self._go_down(restart.arg, lose_models=True)
        if Kind.STUCK_STOPPING in faults:
            self._scheduler.stuck_unloads += 1
        if leak := faults.get(Kind.LEAK):
            self._scheduler.leak_bytes = int(leak.arg)
        return faults

    def _go_down(self, seconds: float, *, lose_models: bool) -> None:
        if self._power_cut is None:
            raise Problem(501, "this simulator was built without a listener of its own")
        if lose_models:
            self._forget_models()
        self._power_cut(seconds, lose_models)

    async def faults(self, request: Request) -> Response:
        if request.method == "DELETE":
            self._faults.clear()
        if request.method == "POST":
            try:
                ordered = msgspec.json.decode(await request.body(), type=list[Fault])
            except msgspec.DecodeError as error:
                return _problem(Problem(400, str(error)))
            for fault in ordered:
                if fault.kind is Kind.REFUSE:
                    self._go_down(fault.arg, lose_models=False)
                else:
                    self._faults.add(fault)
        return _json(200, {"faults": self._faults.listing()})

    async def log(self, request: Request) -> Response:
        return _json(200, self._log.summary())

    async def state(self, request: Request) -> Response:
        runners = self._scheduler.resident.values()
        return _json(
            200,
            {
                "pending": self._scheduler.pending,
                "running": self._log.running,
                "leaked_bytes": self._scheduler.leaked_bytes,
                "runners": [
                    {
                        "model": runner.model,
                        "phase": runner.phase,
                        "refs": runner.refs,
                        "keep_alive_s": runner.keep_alive_s,
                        "options": dict(runner.wanted.options),
                    }
                    for runner in runners
                ],
            },
        )

    async def reset(self, request: Request) -> Response:
        """Forget faults, log and resident models; requests under way go on."""
        self._faults.clear()
        self._forget_models()
        self._log.reset()
        return _json(200, {})

    async def restart(self, request: Request) -> Response:
        """As a restart of the service: models and leaks are gone; faults and log stay."""
        self._forget_models()
        return _json(200, {})

    def _forget_models(self) -> None:
        self._scheduler.drop_all()
        self._scheduler.leaked_bytes = self._scheduler.leak_bytes = 0

    def _tag(self, name: str) -> dict[str, object]:
        spec = self._config.models[name]
        return {
            "name": name,
            "model": name,
            "modified_at": MODIFIED_AT,
            "size": spec.size_bytes,
            "digest": self._library.digest(name),
            "details": spec.details(),
            "capabilities": spec.capabilities,
        }

    def _resident(self, runner: Runner) -> dict[str, object]:
        spec = self._library.known[runner.model]
        return {
            "name": runner.model,
            "model": runner.model,
            "size": spec.size_bytes,
            "digest": self._library.digest(runner.model),
            "details": spec.details(),
            "expires_at": timestamp(self._left_s(runner)),
            "size_vram": spec.size_bytes,
            "context_length": runner.wanted.num_ctx,
        }

    def _left_s(self, runner: Runner) -> float:
        if runner.expires_at is not None:
            return runner.expires_at - self._clock.now()
        return runner.keep_alive_s if runner.keep_alive_s >= 0 else FOR_EVER_S


class HostCheck:
    """403 with no body for a Host header that is no name of this machine, as on a loopback bind."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http" or _is_local(dict(scope["headers"]).get(b"host", b"").decode()):
            await self._app(scope, receive, send)
            return
        await Response(status_code=403)(scope, receive, send)


def _is_local(host: str) -> bool:
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return name in ("", "localhost") or name.endswith((".localhost", ".local", ".internal"))
    return True


async def _root(request: Request) -> Response:
    return PlainTextResponse("Ollama is running")


def _texts(value: object) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Problem(400, "invalid input type")
    return texts


def _vector(model: str, text: str) -> list[float]:
    rng = random.Random(hashlib.sha256(f"{model}\0{text}".encode()).digest())
    raw = [rng.gauss(0, 1) for _ in range(EMBEDDING_DIMENSIONS)]
    length = sum(value * value for value in raw) ** 0.5
    return [value / length for value in raw]


def _json(status: int, body: object) -> Response:
    encoded = msgspec.json.encode(body)
    return Response(encoded, status, media_type="application/json; charset=utf-8")


def _problem(problem: Problem) -> Response:
    return _json(problem.status, {"error": problem.text})
