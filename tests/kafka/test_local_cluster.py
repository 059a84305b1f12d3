"""The cluster that compose/local.py starts, a node of Kafka killed in the middle of its orders."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sagaline.orchestrator.settings import Settings
from sagaline.workers.examples.ledger import Ledger

from .. import broker as brokers
from ..kafka_fixture import without_broker
from ..postgres_fixture import require_postgres
from .test_engine_killed import check_with_another_client

COMPOSE = Path(__file__).resolve().parents[2] / "compose"
ORDERS = 200 if "SAGALINE_SOAK" in os.environ else 60
PATIENCE_SECONDS = 120.0

local = brokers.load_script("local")

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(550)]


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Ended and removed afterwards. Its folder is not pytest's own, which PostgreSQL's user may not enter."""
    require_postgres()
    try:
        brokers.check_java()
    except brokers.NoBroker as error:
        without_broker(error)
    with tempfile.TemporaryDirectory(prefix="sagaline-cluster-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        made = local.Cluster(brokers.kafka.free_port(8), Path(folder) / "data")
        try:
            yield made
        finally:
            made.down()


def run(cluster: Any, *act: str) -> subprocess.CompletedProcess[str]:
    where = ("--port", str(cluster.brokers[0].port), "--data", str(cluster.data))
    command = [sys.executable, str(COMPOSE / "local.py"), *act, *where]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_a_taken_port_is_named_and_nothing_is_started(cluster: Any) -> None:
    with socket.create_server(("127.0.0.1", cluster.brokers[2].port)):
        up = run(cluster, "up")
    assert up.returncode == 1
    assert f"port {cluster.brokers[2].port} cannot be used" in up.stderr
    assert "`down` ends it" in up.stderr
    assert {part.pid for part in (*cluster.servers, *cluster.own)} == {None}
    assert run(cluster, "down").stdout == "nothing ran\n"


def test_every_order_ends_and_every_effect_is_there_once_though_a_node_of_kafka_is_killed(cluster: Any) -> None:
    up = run(cluster, "up")
    assert up.returncode == 0, up.stderr
    ledger = Ledger(cluster.data / "ledger.db")
    command = [sys.executable, str(COMPOSE / "orders.py"), str(ORDERS), "--url", cluster.api.url, "--timeout", "240"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as orders:
        until(lambda: len(ledger.orders()) > ORDERS // 4, "the workers have done almost nothing")
        os.kill(cluster.brokers[1].pid, signal.SIGKILL)
        assert len(ledger.orders()) < ORDERS, "the node is killed in the middle"
        said, _ = orders.communicate(timeout=400)
    assert orders.returncode == 0, said
    status = run(cluster, "status")
    assert status.returncode == 3
    assert [line.split()[0] for line in status.stdout.splitlines() if line.endswith("stopped")] == ["kafka-2"]
    assert ledger.done_twice() == []
    assert ledger.open_charges() == []
    books = ledger.orders().values()
    assert {each.order_id for each in books if each.shipments} == {
        each.order_id for each in books if each.charges > each.refunds
    }
    settings = Settings(namespace=cluster.settings["SAGALINE_NAMESPACE"])
    check_with_another_client(cluster.brokers[0].address, settings)
    again = run(cluster, "up")
    assert again.returncode == 0, again.stderr
    assert run(cluster, "status").returncode == 0
    down = run(cluster, "down", "--purge")
    assert "kafka-2" in down.stdout
    assert not cluster.data.exists()
