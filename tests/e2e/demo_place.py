"""Where a test runs the demo's parts: a log of its own, in SQLite or Kafka, and a port for the API."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sagaline.orchestrator.cli.demo.parts import bound
from sagaline.orchestrator.cli.demo.place import Place, prepared
from sagaline.orchestrator.cli.options import ListenOptions, LogOptions

__all__ = ["LOGS", "demo_place"]

LOGS = ["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)]


@contextmanager
def demo_place(request: pytest.FixtureRequest, log: str, folder: Path) -> Iterator[tuple[Place, socket.socket]]:
    address = f"sqlite:///{folder}/log.db"
    if log == "kafka":
        address = f"kafka://{request.getfixturevalue('kafka_bootstrap')}"
    options = LogOptions(log=address, namespace=f"demo-{uuid.uuid4().hex[:8]}")
    with (
        prepared(options, ListenOptions(port=0), str(folder), False, "tests") as place,
        bound(place.settings) as listener,
    ):
        yield place, listener
