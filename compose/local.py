"""Starts and stops a whole Sagaline on this machine, without Docker, running the order checkout.

    python compose/local.py up|status|down|logs [--port 19092] [--data DIR]

- Three nodes of Kafka (replication factor 3, two in sync), PostgreSQL for the read model, two engines, one worker
  each of inventory, payment and shipping, and the API: ten processes, on 127.0.0.1 only.
- Ports, counted from ``--port``: Kafka takes the first six (a client's and a controller's for each node), PostgreSQL
  the seventh, the API the eighth.
- ``up`` starts what does not run and returns when everything is ready: after a part has died, it starts that part.
  ``down`` ends what ``up`` started and nothing else; it removes data only with ``--purge``.
- Each part has a folder of its name in the data folder, with its pid file and its ``output.log``.
- Needs Java and Maven (see kafka.py), PostgreSQL's server, and Sagaline with its driver: ``sagaline[postgresql]``.
- Standard library only. Nobody needs a password here: this is for development.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from kafka import CLUSTER_ID, Broker, cache_folder, fetch_jars, find_java
from parts import Part, PartError, latest, start_parts, stop_parts

HERE = Path(__file__).resolve().parent
CHECKOUT = "sagaline.sagas.examples.order_checkout:checkout"
WORKERS = ("inventory", "payment", "shipping")
ENGINES = ("engine-1", "engine-2")
BROKERS = 3
PORT = 19092
WAIT_SECONDS = 120.0
RESOURCE = "OTEL_RESOURCE_ATTRIBUTES"
POSTGRESQL = Path("/usr/lib/postgresql")


class Postgres(Part):
    """A server of PostgreSQL; its one user, ``sagaline``, needs no password."""

    stop_signal = signal.SIGINT  # what its manual calls a fast shutdown: it does not wait for clients

    def __init__(self, port: int, data: Path) -> None:
        super().__init__("postgres", data, [port])
        self.url = f"postgresql://sagaline@127.0.0.1:{port}/postgres"
        # The server refuses to be root.
        self._user = "nobody" if os.geteuid() == 0 else None

    def prepare(self) -> None:
        if (self.data / "db" / "PG_VERSION").exists():
            return
        if self._user is not None:
            entry = pwd.getpwnam(self._user)
            os.chown(self.data, entry.pw_uid, entry.pw_gid)
            shut = [str(folder) for folder in self.data.parents if not folder.stat().st_mode & 0o001]
            if shut:
                raise PartError(
                    f"PostgreSQL refuses to be root, and the user {self._user} cannot enter {shut[-1]}: "
                    "run this as another user, or choose another folder by --data"
                )
        encoding = ("-E", "UTF8", "--locale=C")
        command = [_program("initdb"), "-D", "db", "-U", "sagaline", "-A", "trust", "--no-sync", *encoding]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=self.data, user=self._user)
        if done.returncode:
            raise PartError(f"PostgreSQL could not make {self.data / 'db'}: {done.stderr.strip()[-800:]}")

    def launch(self) -> None:
        options = [f"port={self.ports[0]}", "listen_addresses=127.0.0.1", "unix_socket_directories="]
        named = [part for option in options for part in ("-c", option)]
        self.spawn([_program("postgres"), "-D", str(self.data / "db"), *named], user=self._user)

    def ready(self) -> bool:
        where = ["-h", "127.0.0.1", "-p", str(self.ports[0]), "-U", "sagaline", "-d", "postgres", "-t", "3"]
        return subprocess.run([_program("pg_isready"), *where], capture_output=True, timeout=10).returncode == 0


class Saga(Part):
    """A process of ``saga`` that runs until it is stopped."""

    def __init__(self, name: str, data: Path, arguments: Sequence[str], settings: dict[str, str]) -> None:
        super().__init__(name, data)
        self._arguments, self._settings = arguments, settings

    def launch(self) -> None:
        # Without it, what two engines count would arrive in a collector under one name.
        resource = ",".join(filter(None, [os.environ.get(RESOURCE), f"service.instance.id={self.name}"]))
        environment = {**os.environ, **self._settings, RESOURCE: resource}
        self.spawn([_saga(), *self._arguments], environment)

    def ready(self) -> bool:
        return "Ctrl-C stops it" in self.said()


class Api(Saga):
    """The API; what it says of itself is what ``/readyz`` answers."""

    def __init__(self, port: int, data: Path, settings: dict[str, str]) -> None:
        super().__init__("api", data, ["api", CHECKOUT, "--port", str(port)], settings)
        self.ports = (port,)
        self.url = f"http://127.0.0.1:{port}"

    def ready(self) -> bool:
        return self._obstacle() is None

    def health(self) -> str:
        return "stopped" if self.pid is None else self._obstacle() or "ready"

    def _obstacle(self) -> str | None:
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{self.url}/readyz", timeout=5):
                return None
        except urllib.error.HTTPError as error:
            return f"not ready: {json.load(error)['detail']}"
        except (OSError, ValueError) as error:
            return f"does not answer: {error}"


class Cluster:
    """All the parts, in the order in which they are started."""

    def __init__(self, port: int = PORT, data: Path | None = None) -> None:
        self.data = data or cache_folder() / f"cluster-{port}"
        nodes = range(port, port + 2 * BROKERS, 2)
        self.brokers = [Broker(node, self.data / f"kafka-{id}", nodes) for id, node in enumerate(nodes, 1)]
        self.postgres = Postgres(port + 2 * BROKERS, self.data / "postgres")
        self.settings = {
            "SAGALINE_LOG": f"kafka://{','.join(broker.address for broker in self.brokers)}",
            "SAGALINE_NAMESPACE": "shop",
            "SAGALINE_READ_MODEL": self.postgres.url,
            "SAGALINE_LOG_FORMAT": "console",
            "CHECKOUT_LEDGER": str(self.data / "ledger.db"),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
        }
        self.api = Api(port + 2 * BROKERS + 1, self.data / "api", self.settings)
        self.servers: list[Part] = [self.postgres, *self.brokers]
        self.own: list[Part] = [
            *(Saga(name, self.data / name, ["run", CHECKOUT], self.settings) for name in ENGINES),
            *(Saga(name, self.data / name, ["worker", f"checkout_workers:{name}"], self.settings) for name in WORKERS),
            self.api,
        ]

    def up(self) -> None:
        """Starts what does not run; everything is ready when this returns."""
        find_java()
        fetch_jars()
        _program("postgres")
        _saga()
        print("starting Kafka and PostgreSQL ...", flush=True)
        start_parts(self.servers, WAIT_SECONDS)
        print("starting engines, workers and API ...", flush=True)
        self._topics()
        start_parts(self.own, WAIT_SECONDS)

    def down(self) -> list[Part]:
        """Ends what runs: processes of Sagaline first, so that they finish what they have begun."""
        return stop_parts(self.own, wait=30) + stop_parts(self.servers)

    def purge(self) -> None:
        """Removes what the parts have written, and nothing else that is in the data folder."""
        if not (self.data / CLUSTER_ID).exists():
            return
        for part in (*self.servers, *self.own):
            shutil.rmtree(part.data, ignore_errors=True)
        for file in (*self.data.glob("ledger.db*"), self.data / CLUSTER_ID):
            file.unlink()
        with contextlib.suppress(OSError):
            self.data.rmdir()

    def part(self, name: str) -> Part:
        parts = {part.name: part for part in (*self.servers, *self.own)}
        if name not in parts:
            raise PartError(f"there is no part {name!r}; there are {', '.join(parts)}")
        return parts[name]

    def _topics(self) -> None:
        environment = {**os.environ, **self.settings}
        command = [_saga(), "topics", "create", CHECKOUT]
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_SECONDS, env=environment)
        if done.returncode:
            raise PartError(f"the topics could not be created: {(done.stderr or done.stdout).strip()[-800:]}")


def _program(name: str) -> str:
    """A program of the newest server of PostgreSQL here."""
    packaged = sorted(POSTGRESQL.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    found = str(packaged[-1]) if packaged else shutil.which(name)
    if found is None:
        raise PartError(f"there is no {name}: install PostgreSQL's server (Debian: apt-get install postgresql)")
    return found


def _saga() -> str:
    """The command of the environment that runs this script, else of PATH."""
    found = shutil.which("saga", path=str(Path(sys.executable).parent)) or shutil.which("saga")
    if found is None:
        raise PartError("there is no command saga: run make demo-cluster, or pip install 'sagaline[postgresql]'")
    return found


def print_status(cluster: Cluster) -> bool:
    """A table; True when every part is ready."""
    print(f"{'part':<10} {'pid':>8}  {'port':<6} health")
    health = {}
    for part in (*cluster.servers, *cluster.own):
        health[part.name] = part.health()
        port = str(part.ports[0]) if part.ports else "-"
        print(f"{part.name:<10} {part.pid or '-':>8}  {port:<6} {health[part.name]}")
    return set(health.values()) == {"ready"}


def print_log(part: Part, follow: bool) -> None:
    """What a part wrote since its last start, and with ``follow`` what it goes on to write, until Ctrl-C."""
    try:
        with part.log.open(errors="replace") as log:
            print(latest(log.read()), end="")
            while follow:
                print(log.read(), end="", flush=True)
                time.sleep(0.2)
    except FileNotFoundError:
        raise PartError(f"{part.name} has written nothing; start it: python compose/local.py up") from None
    except KeyboardInterrupt:
        return


def act(cluster: Cluster, given: argparse.Namespace) -> int:
    """What the command line asks for, and its exit code."""
    if given.act == "up":
        began = time.monotonic()
        cluster.up()
        print_status(cluster)
        print(f"The cluster stands, after {time.monotonic() - began:.0f} s; data in {cluster.data}. To use it:")
        print(f"export SAGALINE_URL={cluster.api.url} SAGALINE_LOG={cluster.settings['SAGALINE_LOG']}", end=" ")
        print(f"SAGALINE_NAMESPACE={cluster.settings['SAGALINE_NAMESPACE']}")
    elif given.act == "down":
        ended = cluster.down()
        print(f"stopped {', '.join(part.name for part in ended)}" if ended else "nothing ran")
        if given.purge:
            cluster.purge()
    elif given.act == "logs":
        print_log(cluster.part(given.part), given.follow)
    elif not print_status(cluster):
        return 3
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Kafka, PostgreSQL and Sagaline with the order checkout, on 127.0.0.1."
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--port", type=int, default=PORT, help=f"the first of eight ports (default {PORT})")
    common.add_argument("--data", type=Path, help="data folder (default: cluster-PORT in the cache folder)")
    acts = parser.add_subparsers(dest="act", required=True)
    acts.add_parser("up", parents=[common], help="start what does not run, and wait until everything is ready")
    acts.add_parser("status", parents=[common], help="each part with its pid, port and health; exit code 3: not ready")
    down = acts.add_parser("down", parents=[common], help="end what runs; the data stay")
    down.add_argument("--purge", action="store_true", help="remove the data too")
    logs = acts.add_parser("logs", parents=[common], help="what a part wrote since its last start")
    logs.add_argument("part", help="its name, as status shows it")
    logs.add_argument("-f", "--follow", action="store_true", help="and what it goes on to write, until Ctrl-C")
    given = parser.parse_args()
    cluster = Cluster(given.port, given.data.resolve() if given.data else None)
    try:
        code = act(cluster, given)
        sys.stdout.flush()
        return code
    except PartError as error:
        hint = "\nWhat runs is left running: `status` shows it, `down` ends it." if given.act == "up" else ""
        print(f"local.py: {error}{hint}", file=sys.stderr)
    except BrokenPipeError:  # who read this, as `head` does, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("local.py: interrupted; what runs is left running, and `down` ends it", file=sys.stderr)
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main())
