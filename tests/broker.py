"""Finds or starts a real Kafka broker for tests.

Order: SAGALINE_TEST_KAFKA=host:port; Java 17+ and Maven (compose/kafka.py); Docker (compose/docker-compose.yaml).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

__all__ = ["NoBroker", "check_java", "docker_broker", "given_broker", "kafka", "load_script", "own_broker"]

_COMPOSE = Path(__file__).resolve().parent.parent / "compose"


class NoBroker(Exception):
    """No broker can be had here; the message says what to install."""


def load_script(name: str) -> ModuleType:
    """A script of compose/, which is no package: people run its scripts, which find one another in their folder."""
    if str(_COMPOSE) not in sys.path:
        sys.path.append(str(_COMPOSE))
    spec = importlib.util.spec_from_file_location(f"sagaline_compose_{name}", _COMPOSE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


kafka = load_script("kafka")


def given_broker() -> str | None:
    """host:port of the broker that the environment names. Raises NoBroker when it does not answer."""
    given = os.environ.get("SAGALINE_TEST_KAFKA")
    if given and not kafka.answers(given, timeout=3.0):
        raise NoBroker(f"SAGALINE_TEST_KAFKA names {given}, and no broker answers there: start it or unset the name")
    return given or None


def check_java() -> None:
    """Raises NoBroker when none can be started here without Docker."""
    try:
        kafka.find_java()
        kafka.fetch_jars()
    except kafka.PartError as error:
        raise NoBroker(str(error)) from error


@contextmanager
def own_broker() -> Iterator[kafka.Broker]:  # type: ignore[name-defined]
    """A broker of one's own, to be killed and frozen. Its data are deleted afterwards."""
    check_java()
    folder = Path(tempfile.mkdtemp(prefix="sagaline-kafka-"))
    broker = kafka.Broker(kafka.free_port(), folder)
    try:
        broker.start()
        yield broker
    finally:
        broker.thaw()
        broker.kill()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def docker_broker(why_no_java: str) -> Iterator[str]:
    """host:port of a broker in a container, ended afterwards."""
    docker = shutil.which("docker")
    works = docker and subprocess.run([docker, "info"], capture_output=True, timeout=20).returncode == 0
    if not docker or not works:
        raise NoBroker(f"{why_no_java}; no Docker engine answers either; or set SAGALINE_TEST_KAFKA=host:port")
    port = kafka.free_port()
    compose = [docker, "compose", "-p", f"sagaline-test-{port}", "-f", str(_COMPOSE / "docker-compose.yaml")]
    environment = {**os.environ, "KAFKA_PORT": str(port)}
    address = f"127.0.0.1:{port}"
    try:
        up = subprocess.run([*compose, "up", "-d"], env=environment, capture_output=True, text=True, timeout=600)
        if up.returncode:
            raise NoBroker(f"docker compose failed: {up.stderr.strip()[-500:]}")
        deadline = time.monotonic() + 60
        while not kafka.answers(address):
            if time.monotonic() > deadline:
                raise NoBroker(f"the container's broker did not answer at {address} within a minute")
            time.sleep(0.2)
        yield address
    finally:
        subprocess.run([*compose, "down", "-v"], env=environment, capture_output=True, timeout=120)
