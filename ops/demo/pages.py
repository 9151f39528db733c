"""The event pages of the demo, as a slow, sometimes overloaded site would serve them."""

import asyncio
from collections import Counter
from importlib.resources import files

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

SAMPLES = files("processors.builtin") / "samples" / "govejle-enrichment" / "pages"
SLOW_S = {"oekolariet-foredrag": 3.0, "musikteatret-svanesoeen": 2.0}
USUAL_S = 0.2
ROBOTS = "User-agent: *\nDisallow: /admin/\n"


class Pages:
    """Serves the samples that lie beside the processor; `visits` counts what was asked for."""

    def __init__(self) -> None:
        self.visits: Counter[str] = Counter()
        self.app = Starlette(
            routes=[
                Route("/robots.txt", self._robots),
                Route("/det-sker/{name}", self._page),
                Route("/travlt/{name}", self._busy),
            ]
        )

    async def _robots(self, request: Request) -> Response:
        return PlainTextResponse(ROBOTS)

    async def _page(self, request: Request) -> Response:
        name = request.path_params["name"]
        self.visits[name] += 1
        found = SAMPLES / f"{name}.html"
        if not found.is_file():
            return PlainTextResponse("Siden findes ikke", 404)
        await asyncio.sleep(SLOW_S.get(name, USUAL_S))
        return HTMLResponse(found.read_bytes())

    async def _busy(self, request: Request) -> Response:
        """Overloaded when first asked, as a small site is after its newsletter went out."""
        if not self.visits[request.url.path]:
            self.visits[request.url.path] += 1
            return PlainTextResponse("Kom igen om lidt", 503, {"retry-after": "1"})
        return await self._page(request)
