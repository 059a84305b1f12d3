"""The root of the error tree, and the errors for authors of sagas.

Rules: an exception's docstring says what its message promises; the message says what to do next; ids are attributes.
The whole tree is drawn in ``sagaline.orchestrator.errors``.
"""

from __future__ import annotations

__all__ = ["DefinitionError", "Erased", "SagalineError", "Sealed"]


class SagalineError(Exception):
    """The base class of every error that Sagaline raises on purpose."""


class DefinitionError(SagalineError):
    """A saga, step or contract is declared wrongly, or a value of the language is built from wrong arguments. The
    message says where, and what to give; for declarations it is raised at import.
    """


class Sealed(SagalineError):
    """A personal value cannot be read here: a handler in a worker can, and a client that has opened it."""

    def __init__(self, subject: str) -> None:
        super().__init__(
            f"a personal value of {subject!r} is sealed here: read it in a handler of a worker, or call "
            "`await client.personal.open(model)` first"
        )
        self.subject = subject


class Erased(SagalineError):
    """The data of this person were erased: this value can never be read again. Go on without it."""

    def __init__(self, subject: str) -> None:
        super().__init__(f"the personal data of {subject!r} were erased; continue without them")
        self.subject = subject
