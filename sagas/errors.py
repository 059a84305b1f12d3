"""The root of the error tree, and the errors that an author of a saga meets.

Rules: an exception's docstring is its message's promise; the message says what to do next; ids travel as
attributes. The whole tree is drawn in ``sagaline.orchestrator.errors``.
"""

from __future__ import annotations

__all__ = ["DefinitionError", "SagalineError"]


class SagalineError(Exception):
    """Everything that Sagaline raises on purpose is one of these."""


class DefinitionError(SagalineError):
    """A saga, step or contract is declared wrongly, or a value of the language is made of the wrong parts. The message
    tells its author where and what to give; of declarations it is raised at import.
    """
