"""A real Prometheus over a real run, with the shipped configuration at another pace."""

import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.monitoring import DEPLOY
from tests.support.redis_server import free_port
from tests.support.waiting import until

PROMETHEUS = shutil.which("prometheus")
needs_prometheus = pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not on PATH")
STEP_S = 1  # between two scrapes, and two evaluations
RATE = "5s"  # what Grafana makes of $__rate_interval at that pace
STOP_LIMIT_S = 10.0


class Prometheus:
    """A running server. A minute of the rules is a second here, so that alerts come in time."""

    def __init__(self, folder: Path, targets: Mapping[str, Sequence[str]]) -> None:
        assert PROMETHEUS is not None
        folder.mkdir()
        self.port = free_port()
        self._log = (folder / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            [
                PROMETHEUS,
                f"--config.file={_configured(folder, targets)}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--log.level=warn",
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        self._http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}/api/v1")

    async def ready(self) -> None:
        """Wait until it answers."""

        async def answers() -> bool:
            assert self._process.poll() is None, self.log()
            try:
                return (await self._http.get("/status/buildinfo")).is_success
            except httpx.TransportError:
                return False

        await until(answers, what="prometheus to answer", limit_s=20)

    def log(self) -> str:
        """What it said."""
        return Path(self._log.name).read_text("utf-8")

    async def scraped(self) -> None:
        """Wait until every target has been read anew."""
        began = time.time()

        async def anew() -> bool:
            rows = (await self._asked("/query", query="timestamp(up)"))["result"]
            return bool(rows) and all(float(row["value"][1]) > began for row in rows)

        await until(anew, what="a scrape of every target", limit_s=10)

    async def stop(self) -> None:
        """End it."""
        await self._http.aclose()
        self._process.kill()
        self._process.wait(STOP_LIMIT_S)
        self._log.close()

    async def series(self, expr: str, over_s: int = 60) -> list[list[float]]:
        """The values of every series of a query over the last time, without those that are NaN."""
        now = float((await self._asked("/query", query="time()"))["result"][1])
        found = await self._asked(
            "/query_range", query=expr, start=now - over_s, end=now, step=STEP_S
        )
        rows = [[float(value) for _, value in one["values"]] for one in found["result"]]
        return [[value for value in row if value == value] for row in rows]

    async def firing(self) -> dict[str, dict[str, Any]]:
        """The alerts that fire, by name."""
        alerts = (await self._asked("/alerts"))["alerts"]
        return {one["labels"]["alertname"]: one for one in alerts if one["state"] == "firing"}

    async def down(self) -> list[str]:
        """What is wrong with targets that do not answer."""
        targets = (await self._asked("/targets"))["activeTargets"]
        return [
            f"{one['scrapeUrl']}: {one['lastError']}" for one in targets if one["health"] != "up"
        ]

    async def _asked(self, path: str, **query: Any) -> Any:
        reply = await self._http.get(path, params=query)
        assert reply.is_success, f"{query}: {reply.text}"
        return reply.json()["data"]


def shown(expr: str) -> str:
    """A panel's query with Grafana's variables filled in, and without its value for no data."""
    bare = (
        expr.replace("$__rate_interval", RATE).replace("$app", ".*").removesuffix(" or vector(0)")
    )
    return quick(bare)


def quick(rules: str) -> str:
    """Minutes as seconds, hours as minutes, wherever a time span stands."""
    spans = re.compile(r"(?<=\[)(\d+)([mh])(?=\])|(?<=for: )(\d+)([mh])\b")

    def shorter(match: re.Match[str]) -> str:
        count, unit = match[1] or match[3], match[2] or match[4]
        return f"{count}{'s' if unit == 'm' else 'm'}"

    return spans.sub(shorter, rules)


def _configured(folder: Path, targets: Mapping[str, Sequence[str]]) -> Path:
    """The shipped configuration over these targets, by job."""
    shipped = DEPLOY / "prometheus"
    config = yaml.safe_load((shipped / "prometheus.yml").read_text("utf-8"))
    config["global"] = {"scrape_interval": f"{STEP_S}s", "evaluation_interval": f"{STEP_S}s"}
    jobs = [job["job_name"] for job in config["scrape_configs"]]
    assert set(targets) <= set(jobs)
    config["scrape_configs"] = [
        {"job_name": job, "static_configs": [{"targets": list(targets.get(job, ()))}]}
        for job in jobs
    ]
    (folder / "rules").mkdir()
    for path in (shipped / "rules").glob("*.yml"):
        (folder / "rules" / path.name).write_text(quick(path.read_text("utf-8")), "utf-8")
    written = folder / "prometheus.yml"
    written.write_text(yaml.safe_dump(config), "utf-8")
    return written
