"""The first step of ``saga``: what may happen while everything else is still being loaded."""

from __future__ import annotations

import io
import sys

__all__ = ["main"]

_INTERRUPTED = 130


def main() -> None:
    """Entry point of ``saga``. What a terminal cannot show is written as an escape; Ctrl-C leaves one line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        from .app import main as run

        run()
    except KeyboardInterrupt:
        print("saga: interrupted before it had begun", file=sys.stderr, flush=True)
        sys.exit(_INTERRUPTED)
