"""What refusing costs: the latency of a program within its quota, alone and beside 10,000 refused requests of another.

    python bench/quotas.py
    python bench/quotas.py --refused 2000 --at-once 4

One server process on a log in one file, and this process as both clients. ``ratio`` is the median latency of the
permitted program beside the flood, to that beside the same number of requests of which none is refused; ``alone`` is
without any other. ``cost_ratio``: the server's processor time of a refused request, to that of an answered one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter

import httpx

TOKEN = "a-token-for-this-bench"
PATH = "/v1/definitions"
PAUSE_SECONDS = 0.01


def seconds_of(pid: int) -> float:
    """The processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def header(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


async def flood(http: httpx.AsyncClient, who: Mapping[str, str], count: int, at_once: int, status: int) -> None:
    left = iter(range(count))

    async def one_after_another() -> None:
        for _ in left:
            answer = await http.get(PATH, headers=who)
            assert answer.status_code == status, answer.text

    await asyncio.gather(*(one_after_another() for _ in range(at_once)))


async def median_ms(http: httpx.AsyncClient, who: Mapping[str, str], until: asyncio.Task[None]) -> float:
    """The median latency of the permitted program while the other one runs."""
    taken: list[float] = []
    while not until.done() or len(taken) < 20:
        began = perf_counter()
        assert (await http.get(PATH, headers=who)).status_code == 200
        taken.append((perf_counter() - began) * 1_000)
        await asyncio.sleep(PAUSE_SECONDS)
    await until
    return statistics.median(taken)


async def measured(url: str, pid: int, count: int, at_once: int) -> dict[str, float]:
    root, keys = header(TOKEN), dict[str, dict[str, str]]()
    limits = httpx.Limits(max_connections=at_once + 1)
    async with (
        httpx.AsyncClient(base_url=url, limits=limits, timeout=60) as http,
        httpx.AsyncClient(base_url=url) as own,
    ):
        for name in ("flooding", "permitted"):
            made = await http.post("/v1/keys", json={"name": name, "role": "viewer"}, headers=root)
            keys[name] = header(made.json()["secret"])
        idle = asyncio.create_task(asyncio.sleep(2.0))
        alone = await median_ms(own, keys["permitted"], idle)
        found: dict[int, tuple[float, float]] = {}
        for status in (200, 429):
            if status == 429:
                rule = {"when": {"of": "requests", "by": "flooding"}, "to": "1/h"}
                await http.put("/v1/tables/api.quotas", json={"rules": [rule]}, headers=root)
                for _ in range(50):  # until the node has read it
                    if (await http.get(PATH, headers=keys["flooding"])).status_code == status:
                        break
                    await asyncio.sleep(0.1)
            before = seconds_of(pid)
            other = asyncio.create_task(flood(http, keys["flooding"], count, at_once, status))
            median = await median_ms(own, keys["permitted"], other)
            found[status] = median, (seconds_of(pid) - before) / count * 1_000
    (answered, cost), (refused, cost_refused) = found[200], found[429]
    return {
        "alone_ms": alone,
        "beside_answered_ms": answered,
        "beside_refused_ms": refused,
        "ratio": refused / answered,
        "answered_cpu_ms": cost,
        "refused_cpu_ms": cost_refused,
        "cost_ratio": cost_refused / cost,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--refused", type=int, default=10_000)
    parser.add_argument("--at-once", type=int, default=8)
    given = parser.parse_args()
    definition = "sagaline.sagas.examples.order_checkout:checkout"
    command = [sys.executable, "-m", "sagaline.orchestrator.cli", "run", definition, "--api", "--port", "0"]
    settings = {"SAGALINE_API_TOKENS": json.dumps([TOKEN]), "SAGALINE_LOG_LEVEL": "warning"}
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **settings},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert server.stderr is not None
            said = next(line for line in server.stderr if "answering at" in line)
            url = re.search(r"answering at ([^;]+);", said)
            assert url is not None
            found = asyncio.run(measured(url[1], server.pid, given.refused, given.at_once))
        finally:
            server.terminate()
            server.wait(30)
    print(json.dumps({name: round(value, 3) for name, value in found.items()}))


if __name__ == "__main__":
    main()
