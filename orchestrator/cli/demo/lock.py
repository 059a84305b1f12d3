"""One demo at a time per folder and namespace: a second one fails at once. A killed demo leaves no lock."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import ConfigurationError, InUse

__all__ = ["only_demo"]


@contextmanager
def only_demo(path: Path, what: str) -> Iterator[None]:
    """Holds the lock file inside the block.

    Args:
        path: the lock file; created if it is missing, never removed.
        what: what is locked, for the message.

    Raises:
        ConfigurationError: another demo holds it, or the file cannot be created.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be created ({error.strerror}); give another --log or --data"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise InUse(
                f"another demo (process {holder}) runs on {what}; "
                "stop it, or give this one another --log or --namespace"
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        os.close(descriptor)
