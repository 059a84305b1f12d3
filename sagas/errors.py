"""The root of the error tree, and the errors for authors of sagas.

Rules: an exception's docstring says what its message promises; the message says what to do next; ids are attributes.
The whole tree is drawn in ``sagaline.orchestrator.errors``.
"""

from __future__ import annotations

__all__ = ["DefinitionError", "SagalineError"]


class SagalineError(Exception):
    """The base class of every error that Sagaline raises on purpose."""


class DefinitionError(SagalineError):
    """A saga, step or contract is declared wrongly, or a value of the language is built from wrong arguments. The
    message says where, and what to give; for declarations it is raised at import.
    """
