"""The first step of ``saga``: handles what can happen while everything else is being imported."""

from __future__ import annotations

import io
import sys

__all__ = ["main"]

_INTERRUPTED = 130


def main() -> None:
    """Entry point of ``saga``. Characters that the terminal cannot show are escaped; Ctrl-C prints one line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        from .app import main as run

        run()
    except KeyboardInterrupt:
        print("saga: interrupted before it started", file=sys.stderr, flush=True)
        sys.exit(_INTERRUPTED)
