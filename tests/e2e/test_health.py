"""What real processes say of their health: an engine with an API, and a worker that drains when it is told to stop."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from .test_readme import PATIENCE_SECONDS, environment
from .test_stopping import SHOP

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


class Running:
    """A ``saga`` process and what it has said."""

    def __init__(self, folder: Path, *command: str) -> None:
        self._said = folder / f"said-{command[0]}"
        with self._said.open("wb") as output:
            env = environment(SAGALINE_PORT="0", SAGALINE_HEALTH_PORT="0")
            self.process = subprocess.Popen(["saga", *command], cwd=folder, env=env, stdout=output, stderr=output)
        self.wait_for("Ctrl-C stops it")

    @property
    def addresses(self) -> list[str]:
        words = self._said.read_text().split()
        found = (
            word.rstrip(";,").removesuffix("/readyz").rstrip("/") for word in words if word.startswith("http://127")
        )
        return list(dict.fromkeys(found))  # the API's is also its dashboard's

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while text not in self._said.read_text():
            assert self.process.poll() is None, self._said.read_text()
            assert time.monotonic() < deadline, self._said.read_text()
            time.sleep(0.05)


@contextmanager
def running(folder: Path, *command: str) -> Iterator[Running]:
    found = Running(folder, *command)
    try:
        yield found
    finally:
        if found.process.poll() is None:
            found.process.kill()
            found.process.wait()


def until_ready(address: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (answer := httpx.get(f"{address}/readyz", timeout=10)).status_code != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.05)


def test_processes_say_whether_they_are_ready_until_they_have_stopped(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    with ExitStack() as stack:
        engine = stack.enter_context(running(tmp_path, "run", "shop:flows", "--api"))
        worker = stack.enter_context(running(tmp_path, "worker", "shop:workers"))
        api, health_of_engine = engine.addresses
        (health,) = worker.addresses
        for address in (api, health_of_engine, health):
            until_ready(address)
            assert httpx.get(f"{address}/livez").json() == {"status": "ok"}

        body = {"key": "A", "input": {"number": 0}}
        httpx.post(f"{api}/v1/sagas/flow-0", json=body).raise_for_status()
        worker.wait_for("hanging")
        assert 'sagaline_workers_in_flight{sagaline_worker="worker-0"} 1' in httpx.get(f"{health}/metrics").text
        assert "sagaline_partitions_processing" in httpx.get(f"{health_of_engine}/metrics").text
        assert httpx.get(f"{health}/v1/instances").json()["type"] == "urn:sagaline:problem:unknown-path"

        worker.process.send_signal(signal.SIGTERM)
        worker.wait_for("stopping")
        draining = httpx.get(f"{health}/readyz")
        assert (draining.status_code, draining.json()["type"]) == (503, "urn:sagaline:problem:unavailable")
        assert draining.json()["detail"].startswith("the process is stopping")
        assert httpx.get(f"{health}/livez").status_code == 200
        assert worker.process.wait(60) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{health}/livez")
