"""How a command fails: one sentence on stderr that says what to do, and an exit code for scripts.

Exit codes: 0 done; 1 denied or failed; 2 the command line or a setting is wrong; 3 the other side is not reachable.
"""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import typer

from ..errors import ConfigurationError, InUse, LogUnavailable, MissingKey, SagalineError, TopicGone
from .terminal import visible

__all__ = ["FAILED", "NOT_REACHABLE", "USAGE", "Failure", "Mistake", "Unreachable", "sentence", "sentences"]

FAILED: Final = 1
USAGE: Final = 2
NOT_REACHABLE: Final = 3
_SURROUNDINGS: Final = {
    errno.ENOSPC: "free some space on that disk, then start again",
    errno.EDQUOT: "free some of your disk quota, then start again",
    errno.EROFS: "give a folder that can be written to",
    errno.EACCES: "give a folder that can be written to",
    errno.EMFILE: "raise the limit of open files (ulimit -n), then start again",
}
"""Errors of the environment, not of the code, each with its remedy."""


class Failure(SagalineError):
    """The command ran and did not succeed."""


class Mistake(SagalineError):
    """The command line or a setting is wrong; the message says what to write instead."""


class Unreachable(SagalineError):
    """Nothing answers at the given address."""


@contextmanager
def sentences(*, debug: bool) -> Iterator[None]:
    """Turns every error inside the block into a sentence and an exit code; ``debug`` also prints the traceback."""
    try:
        yield
    except (typer.Exit, typer.Abort, typer.TyperException):
        raise
    except Exception as error:
        cause = _first(error)
        if debug:
            traceback.print_exception(error, file=sys.stderr)
        print(f"saga: {sentence(cause)}", file=sys.stderr)
        raise typer.Exit(exit_code(cause)) from None


def sentence(error: Exception) -> str:
    """One line about an error; for an unexpected one also its type and how to see more."""
    text = visible(" ".join(str(error).split()))
    if isinstance(error, SagalineError):
        return text
    if isinstance(error, OSError) and error.errno in _SURROUNDINGS:
        where = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{where}: {_SURROUNDINGS[error.errno]}"
    return f"unexpected {type(error).__name__}: {text}; give --debug to see where, and report it"


def exit_code(error: Exception) -> int:
    """The exit code of an error."""
    if isinstance(error, Mistake):
        return USAGE
    if isinstance(error, TopicGone | InUse):
        return FAILED
    if isinstance(error, ConfigurationError | MissingKey):
        return USAGE
    return NOT_REACHABLE if isinstance(error, Unreachable | LogUnavailable) else FAILED


def _first(error: Exception) -> Exception:
    """The error itself; for a group its first ``SagalineError``, or else its first error."""
    if not isinstance(error, ExceptionGroup):
        return error
    inner = [_first(each) for each in error.exceptions]
    return next((each for each in inner if isinstance(each, SagalineError)), inner[0])
