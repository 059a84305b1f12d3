"""What can go wrong with a worker as a whole. What goes wrong with one command is a reply, never an exception."""

from __future__ import annotations

from ..orchestrator.errors import SagalineError, TransientError

__all__ = ["InboxUnavailable", "WorkerCrashed"]


class InboxUnavailable(TransientError):
    """The inbox did not answer in time. Whether a write took effect may be unknown; repeating it is safe."""


class WorkerCrashed(SagalineError):
    """A handler ended the process (SystemExit, KeyboardInterrupt). Its command is neither answered nor committed.

    Start the worker again: the command is delivered again. The cause is the exception that the handler raised.
    """

    def __init__(self, worker: str, contract: str, cause: BaseException) -> None:
        super().__init__(
            f"worker {worker!r} was ended by its handler of {contract!r} ({type(cause).__name__}); "
            "start it again: what was not finished is delivered again"
        )
        self.worker, self.contract = worker, contract
