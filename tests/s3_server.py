"""An S3 server for tests: SeaweedFS in one process, on free loopback ports, in a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from .broker import kafka

__all__ = ["BUCKET", "PROGRAM", "options", "s3_server"]

PROGRAM = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
"""None: the package has no build for this machine."""
BUCKET = "blobs"
_START_SECONDS = 60.0
_PORTS = (
    "s3",
    "s3.grpc",
    "master",
    "master.grpc",
    "volume",
    "volume.grpc",
    "filer",
    "filer.grpc",
    "admin",
    "admin.grpc",
)
_KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "secret-word"}


def options(port: int, secret: str = _KEYS["AWS_SECRET_ACCESS_KEY"]) -> dict[str, str]:
    """For ``BlobStore.open``."""
    return {
        "endpoint": f"http://127.0.0.1:{port}",
        "region": "us-east-1",
        "access_key_id": _KEYS["AWS_ACCESS_KEY_ID"],
        "secret_access_key": secret,
    }


@contextmanager
def s3_server() -> Iterator[int]:
    """The port of a server that has an empty bucket."""
    assert PROGRAM is not None
    first = kafka.free_port(len(_PORTS))
    with tempfile.TemporaryDirectory(prefix="s3-") as folder:
        named = [_option(name, first + number) for number, name in enumerate(_PORTS)]
        off = ["-master.telemetry=false", "-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        sockets = [f"-{each}.localSocket={folder}/{each}.sock" for each in ("s3", "filer")]
        here = [f"-dir={folder}/data", f"-bucket={BUCKET}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        with Path(folder, "log").open("wb") as log:
            server = subprocess.Popen(
                [PROGRAM, "mini", *here, *named, *off, *sockets],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env={"PATH": os.environ["PATH"], "HOME": folder, **_KEYS},
            )
        try:
            _wait(server, first, Path(folder, "log"))
            yield first
        finally:
            server.kill()
            server.wait()


def _option(name: str, port: int) -> str:
    part, _, grpc = name.partition(".")
    return f"-{part}.port{'.grpc' if grpc else ''}={port}"


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while True:
        try:
            # The bucket is made last: without a signature it is refused, once it is there.
            if httpx.head(f"http://127.0.0.1:{port}/{BUCKET}", timeout=5).status_code == 403:
                return
        except httpx.TransportError:
            pass
        assert server.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.05)
