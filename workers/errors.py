"""Errors of a worker as a whole. An error in one command becomes a reply, never an exception."""

from __future__ import annotations

import asyncio

from ..orchestrator.errors import SagalineError, TransientError

__all__ = ["InboxUnavailable", "Unreadable", "WorkerCrashed", "is_cancelled"]


class InboxUnavailable(TransientError):
    """The inbox did not answer in time. It may be unknown whether a write took effect; repeating it is safe."""


class Unreadable(SagalineError):
    """A message's value can never be read; trying again does not help. Who sent it must correct it, or the author of
    the handler must learn to read it; then the dead letter is sent again.
    """


class WorkerCrashed(SagalineError):
    """A handler raised SystemExit or KeyboardInterrupt. Its command is neither answered nor committed.

    Restart the worker: the command is delivered again. The cause is the handler's exception.
    """

    def __init__(self, worker: str, contract: str, cause: BaseException) -> None:
        super().__init__(
            f"worker {worker!r} was ended by its handler of {contract!r} ({type(cause).__name__}); "
            "start it again: what was not finished is delivered again"
        )
        self.worker, self.contract = worker, contract


def is_cancelled(error: BaseException) -> bool:
    """True when the task in which a handler runs is being ended. A cancellation of the handler's own is its failure."""
    task = asyncio.current_task()
    ours = task is None or task.cancelling() > 0
    return isinstance(error, GeneratorExit) or (isinstance(error, asyncio.CancelledError) and ours)
