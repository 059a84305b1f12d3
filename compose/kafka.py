"""Starts and stops a real Apache Kafka (KRaft, one node) without Docker.

    python compose/kafka.py up|down|status [--port 9092] [--data DIR]

- Needs Java 17 or newer, and Maven for the first start: the jars that compose/pom.xml pins are fetched once into a
  cache folder (SAGALINE_CACHE, else .cache/ of this checkout, else the user's cache folder).
- The broker listens on 127.0.0.1 only, at the port and at the one above it (its controller).
- For development and tests: one node, so topics have replication factor 1, and the waits that protect a cluster
  (session of a lost broker, checks for timed-out transactions) are short.
- A pid file in the data folder names the process; ``down`` ends that process and no other.
- Standard library only. Tests import ``Broker`` for what only they do: kill -9, freeze, restart.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from pathlib import Path

__all__ = ["Broker", "KafkaError", "answers", "down", "free_port", "status", "up"]

HERE = Path(__file__).resolve().parent
JAVA_MIN = 17
JAVA_OPTIONS = [
    *("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto"),
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
]

PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
log.dirs={logs}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=2
log.cleaner.dedupe.buffer.size=4194304
log.cleaner.backoff.ms=500
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=400
"""


class KafkaError(Exception):
    """The broker cannot be started or stopped; the message says what to do."""


class Broker:
    """One broker, its data folder and its process. Not safe for concurrent use."""

    def __init__(self, port: int = 9092, data: Path | None = None) -> None:
        self.port = port
        self.data = data or cache_folder() / f"kafka-{port}"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The running broker's process id, or None; a pid file that a crash left behind counts for nothing."""
        try:
            pid = int((self.data / "pid").read_text())
            command = Path(f"/proc/{pid}/cmdline")
            if command.exists():
                return pid if str(self.data).encode() in command.read_bytes() else None
            if Path("/proc/self").exists():
                return None
            shown = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, timeout=10)
            return pid if str(self.data).encode() in shown.stdout else None
        except (OSError, ValueError):
            return None

    def start(self, wait: float = 60.0) -> None:
        """Starts the process and returns when it answers clients, within ``wait`` seconds; 0: does not wait."""
        if self.pid is not None:
            return
        java, jars = find_java(), fetch_jars()
        for port in (self.port, self.port + 1):
            _check_free(port)
        self.data.mkdir(parents=True, exist_ok=True)
        config = self.data / "server.properties"
        config.write_text(
            PROPERTIES.format(port=self.port, controller=self.port + 1, logs=(self.data / "logs").as_posix())
        )
        run = [java, *JAVA_OPTIONS, "-cp", f"{jars}{os.sep}*"]
        if not (self.data / "logs" / "meta.properties").exists():
            self._format(run, config)
        with (self.data / "broker.log").open("ab") as log:
            self._child = subprocess.Popen(
                [*run, "kafka.Kafka", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        (self.data / "pid").write_text(str(self._child.pid))
        if wait:
            self.wait_ready(wait)

    def wait_ready(self, wait: float = 60.0) -> None:
        """Returns when the broker answers a metadata request with itself in it."""
        deadline = time.monotonic() + wait
        while not answers(self.address):
            if self._child is not None and self._child.poll() is not None:
                raise KafkaError(f"Kafka ended while starting (exit {self._child.returncode}):\n{self.last_lines()}")
            if time.monotonic() > deadline:
                raise KafkaError(f"Kafka did not answer within {wait:.0f} s at {self.address}:\n{self.last_lines()}")
            time.sleep(0.05)

    def stop(self, wait: float = 20.0) -> bool:
        """Ends the process (SIGTERM, after ``wait`` seconds SIGKILL); False when none was running."""
        pid = self.pid
        if pid is None:
            return False
        self._signal(pid, signal.SIGCONT)
        self._signal(pid, signal.SIGTERM)
        if not self._gone(wait):
            self.kill()
        (self.data / "pid").unlink(missing_ok=True)
        return True

    def kill(self) -> None:
        """kill -9, and waits until the process is gone. The data stay."""
        if (pid := self.pid) is not None:
            self._signal(pid, signal.SIGKILL)
            self._gone(10)

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nobody answers."""
        if (pid := self.pid) is not None:
            self._signal(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        if (pid := self.pid) is not None:
            self._signal(pid, signal.SIGCONT)

    def last_lines(self, count: int = 15) -> str:
        """The end of the broker's own log, without the frames of Java's stack traces."""
        try:
            lines = (self.data / "broker.log").read_text(errors="replace").splitlines()
        except OSError:
            return "(there is no broker.log)"
        telling = [line for line in lines if not line.startswith("\tat ")]
        return "\n".join(f"    {line[:300]}" for line in telling[-count:])

    def _format(self, run: list[str], config: Path) -> None:
        cluster = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
        if cluster.startswith("-"):
            cluster = "s" + cluster[1:]
        tool = [*run, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(config), "--standalone"]
        done = subprocess.run(tool, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise KafkaError(
                f"the data folder {self.data} could not be formatted: {(done.stderr or done.stdout).strip()[-800:]}"
            )

    def _gone(self, wait: float) -> bool:
        deadline = time.monotonic() + wait
        while self.pid is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        if self._child is not None:
            self._child.wait(5)
        return True

    @staticmethod
    def _signal(pid: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


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
    """Whether a broker at host:port answers a metadata request (version 4) with at least one live broker."""
    host, _, port = address.rpartition(":")
    body = struct.pack(">hhih", 3, 4, 1, -1) + struct.pack(">i?", 0, False)
    try:
        with socket.create_connection((host, int(port)), timeout) as link:
            link.settimeout(timeout)
            link.sendall(struct.pack(">i", len(body)) + body)
            head = b""
            while len(head) < 16:
                more = link.recv(16 - len(head))
                if not more:
                    return False
                head += more
    except (OSError, ValueError):
        return False
    _size, correlation, _throttle, brokers = struct.unpack(">iiii", head)
    return bool(correlation == 1 and brokers > 0)


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
        raise KafkaError(
            f"there is no java: install Java {JAVA_MIN} or newer (Debian: apt-get install openjdk-17-jre-headless)"
        )
    shown = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30)
    text = shown.stderr + shown.stdout
    found = re.search(r'version "(?:1\.)?(\d+)', text)
    if found is None or int(found.group(1)) < JAVA_MIN:
        first = text.strip().splitlines()[0] if text.strip() else "no answer"
        raise KafkaError(
            f"{java} is too old ({first}): Kafka {version()} needs Java {JAVA_MIN} or newer; set JAVA_HOME"
        )
    return java


def fetch_jars() -> Path:
    """The folder with the pinned jars; fetched by Maven when it is not there. Safe when two processes do it at once."""
    folder = cache_folder() / f"kafka-{version()}-jars"
    if folder.exists():
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise KafkaError("there is no mvn: install Maven to fetch Kafka's jars once (Debian: apt-get install maven)")
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix="jars-", dir=folder.parent))
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={fresh}"]
    try:
        done = subprocess.run(
            [maven, "-q", "-B", "-f", str(HERE / "pom.xml"), *goal], capture_output=True, text=True, timeout=600
        )
        if done.returncode or not any(fresh.glob("kafka_2.13-*.jar")):
            raise KafkaError(f"Maven could not fetch Kafka's jars:\n{(done.stdout + done.stderr).strip()[-1500:]}")
        with contextlib.suppress(OSError):
            fresh.rename(folder)
    except subprocess.TimeoutExpired:
        raise KafkaError("Maven did not fetch Kafka's jars within ten minutes: check the network, try again") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def free_port() -> int:
    """A port that is free now together with the one above it (the controller's)."""
    for _ in range(50):
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
    raise KafkaError("no two free neighbouring ports were found on 127.0.0.1")


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise KafkaError(
                f"port {port} cannot be used ({error}): choose another by --port (Kafka takes it and the one above)"
            ) from None


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
    except KafkaError as error:
        print(f"kafka.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
