"""Starts and stops a real Apache Kafka (KRaft, one node) without Docker.

    python compose/kafka.py up|down|status [--port 9092] [--data DIR]

- Needs Java 17 or newer, and Maven for the first start: the jars that compose/pom.xml pins are fetched once into a
  cache folder (SAGALINE_CACHE, else .cache/ of this checkout, else the user's cache folder).
- The broker listens on 127.0.0.1 only, at the port and at the one above it (its controller).
- For development and tests: one node, so topics have replication factor 1, and the waits that protect a cluster
  (session of a lost broker, checks for timed-out transactions) are short.
- A pid file in the data folder names the process; ``down`` ends that process and no other.
- Standard library only. ``Broker`` is also each node of the cluster that local.py starts, and what tests kill, freeze
  and restart.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from parts import Part, PartError, free_port

__all__ = ["Broker", "PartError", "answers", "down", "free_port", "status", "up"]

HERE = Path(__file__).resolve().parent
JAVA_MIN = 17
CLUSTER_ID = "cluster.id"
JAVA_OPTIONS = [
    *("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto"),
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
]

PROPERTIES = """\
process.roles=broker,controller
node.id={id}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.quorum.voters={voters}
log.dirs={logs}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
group.initial.rebalance.delay.ms=0
default.replication.factor={replicas}
min.insync.replicas={in_sync}
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=2
log.cleaner.dedupe.buffer.size=4194304
log.cleaner.backoff.ms=500
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=400
"""


class Broker(Part):
    """One node, broker and controller in one, of a cluster of one or more; ``nodes`` are the client ports of all."""

    def __init__(self, port: int = 9092, data: Path | None = None, nodes: Sequence[int] | None = None) -> None:
        self.port, self.nodes = port, tuple(nodes or [port])
        self.id = self.nodes.index(port) + 1
        name = "Kafka" if len(self.nodes) == 1 else f"kafka-{self.id}"
        super().__init__(name, data or cache_folder() / f"kafka-{port}", [port, port + 1])
        self._run: list[str] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def ready(self) -> bool:
        return self.port in live_ports(self.address)

    def prepare(self) -> None:
        self._run = [find_java(), *JAVA_OPTIONS, "-cp", f"{fetch_jars()}{os.sep}*"]
        replicas = min(3, len(self.nodes))
        config = PROPERTIES.format(
            id=self.id,
            port=self.port,
            controller=self.port + 1,
            voters=",".join(f"{id}@127.0.0.1:{port + 1}" for id, port in enumerate(self.nodes, 1)),
            logs=(self.data / "logs").as_posix(),
            replicas=replicas,
            in_sync=max(1, replicas - 1),
        )
        self._config.write_text(config)
        if not (self.data / "logs" / "meta.properties").exists():
            self._format()

    def launch(self) -> None:
        self.spawn([*self._run, "kafka.Kafka", str(self._config)])

    @property
    def _config(self) -> Path:
        return self.data / "server.properties"

    def _format(self) -> None:
        # The same of every node, and another after the data were removed: no client takes the new cluster for the old.
        cluster = (self.data.parent if len(self.nodes) > 1 else self.data) / CLUSTER_ID
        if not cluster.exists():
            cluster.write_text("S" + base64.urlsafe_b64encode(os.urandom(16)).decode()[1:].rstrip("="))
        tool = [*self._run, "kafka.tools.StorageTool", "format", "-t", cluster.read_text(), "-c", str(self._config)]
        done = subprocess.run(tool, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise PartError(
                f"the data folder {self.data} could not be formatted: {(done.stderr or done.stdout).strip()[-800:]}"
            )


def up(port: int = 9092, data: Path | None = None) -> Broker:
    """Starts a broker, or finds the one that runs already; it answers when this returns."""
    broker = Broker(port, data)
    if broker.pid is None:
        broker.start()
    else:
        broker.wait_ready()
    return broker


def down(port: int = 9092, data: Path | None = None) -> bool:
    """Ends the broker that ``up`` started; False when none was running. Its data stay."""
    return Broker(port, data).stop()


def status(port: int = 9092, data: Path | None = None) -> str:
    """One line for people."""
    broker = Broker(port, data)
    if broker.pid is None:
        if answers(broker.address):
            return f"something else answers as Kafka at {broker.address}; it was not started from here"
        return f"no broker at {broker.address}; start one: python compose/kafka.py up --port {port}"
    answer = "answers" if answers(broker.address) else "does not answer"
    return f"Kafka {version()} at {broker.address} {answer}; pid {broker.pid}, data in {broker.data}"


def answers(address: str, timeout: float = 1.0) -> bool:
    """Whether a broker at host:port answers and knows of a live broker."""
    return bool(live_ports(address, timeout))


def live_ports(address: str, timeout: float = 1.0) -> list[int]:
    """The ports of the live brokers that the one at host:port names (metadata, version 4); none: it does not answer."""
    host, _, port = address.rpartition(":")
    request = struct.pack(">hhih", 3, 4, 1, -1) + struct.pack(">i?", 0, False)
    try:
        with socket.create_connection((host, int(port)), timeout) as link, link.makefile("rb") as answer:
            link.settimeout(timeout)
            link.sendall(struct.pack(">i", len(request)) + request)
            _size, correlation, _throttle, count = struct.unpack(">iiii", answer.read(16))
            found = []
            for _ in range(count if correlation == 1 else 0):
                _id, host_bytes = struct.unpack(">ih", answer.read(6))
                answer.read(host_bytes)
                found.append(struct.unpack(">i", answer.read(4))[0])
                answer.read(max(0, struct.unpack(">h", answer.read(2))[0]))  # its rack: -1 bytes are none
            return found
    except (OSError, ValueError, struct.error):
        return []


def version() -> str:
    """The version of Kafka that compose/pom.xml pins."""
    found = ET.parse(HERE / "pom.xml").getroot().findtext("{http://maven.apache.org/POM/4.0.0}version")
    assert found is not None
    return found


def cache_folder() -> Path:
    """Where jars and data are kept: SAGALINE_CACHE, else .cache/ of the checkout, else the user's cache folder."""
    if given := os.environ.get("SAGALINE_CACHE"):
        return Path(given).expanduser().resolve()
    checkout = HERE.parent
    if (checkout / "pyproject.toml").exists() and os.access(checkout, os.W_OK):
        return checkout / ".cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sagaline"


def find_java() -> str:
    """The java command: of JAVA_HOME, else of PATH; version 17 or newer."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin")) if home else None
    java = java or shutil.which("java")
    if java is None:
        raise PartError(
            f"there is no java: install Java {JAVA_MIN} or newer (Debian: apt-get install openjdk-17-jre-headless)"
        )
    shown = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30)
    text = shown.stderr + shown.stdout
    found = re.search(r'version "(?:1\.)?(\d+)', text)
    if found is None or int(found.group(1)) < JAVA_MIN:
        first = text.strip().splitlines()[0] if text.strip() else "no answer"
        raise PartError(f"{java} is too old ({first}): Kafka {version()} needs Java {JAVA_MIN} or newer; set JAVA_HOME")
    return java


def fetch_jars() -> Path:
    """The folder with the pinned jars; fetched by Maven when it is not there. Safe when two processes do it at once."""
    folder = cache_folder() / f"kafka-{version()}-jars"
    if folder.exists():
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise PartError("there is no mvn: install Maven to fetch Kafka's jars once (Debian: apt-get install maven)")
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix="jars-", dir=folder.parent))
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={fresh}"]
    try:
        done = subprocess.run(
            [maven, "-q", "-B", "-f", str(HERE / "pom.xml"), *goal], capture_output=True, text=True, timeout=600
        )
        if done.returncode or not any(fresh.glob("kafka_2.13-*.jar")):
            raise PartError(f"Maven could not fetch Kafka's jars:\n{(done.stdout + done.stderr).strip()[-1500:]}")
        with contextlib.suppress(OSError):
            fresh.rename(folder)
    except subprocess.TimeoutExpired:
        raise PartError("Maven did not fetch Kafka's jars within ten minutes: check the network, try again") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description="A real Apache Kafka for development, without Docker.")
    parser.add_argument("act", choices=["up", "down", "status"])
    parser.add_argument("--port", type=int, default=9092, help="client port (default 9092); the one above is taken too")
    parser.add_argument("--data", type=Path, default=None, help="data folder (default: kafka-PORT in the cache folder)")
    given = parser.parse_args()
    data = given.data.resolve() if given.data else None
    try:
        if given.act == "up":
            up(given.port, data)
            print(status(given.port, data))
        elif given.act == "down":
            was = down(given.port, data)
            print(
                f"stopped the broker at 127.0.0.1:{given.port}" if was else f"no broker ran at 127.0.0.1:{given.port}"
            )
        else:
            print(status(given.port, data))
            return 0 if Broker(given.port, data).pid is not None else 3
    except PartError as error:
        print(f"kafka.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
