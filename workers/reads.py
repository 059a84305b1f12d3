"""How a subscription reads values: as JSON of a model, or by whatever else has ``read``, such as a ``Normalizer``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from ..sagas import DefinitionError
from ..sagas.models import mistakes, read_foreign_json
from .errors import Unreadable

__all__ = ["JsonOf", "Reads", "reads_of"]

M = TypeVar("M", bound=BaseModel)
M_co = TypeVar("M_co", bound=BaseModel, covariant=True)


class Reads(Protocol[M_co]):
    """Makes models of records' values."""

    @property
    def model(self) -> type[M_co]:
        """Of what it gives."""
        ...

    def read(self, value: bytes, headers: Mapping[str, bytes]) -> M_co:
        """The same value and headers always give the same.

        Raises:
            Unreadable: this value can never be read; a subscription makes it a dead letter with that reason.
        """
        ...


class JsonOf(Generic[M]):
    """Reads JSON, by field name or alias."""

    def __init__(self, model: type[M]) -> None:
        self.model = model

    def read(self, value: bytes, headers: Mapping[str, bytes]) -> M:
        try:
            return read_foreign_json(self.model, value)
        except ValidationError as error:
            raise Unreadable(f"it does not fit {self.model.__name__}: {mistakes(error, 'the body')}") from error


def reads_of(at: str, model: type[M] | Reads[M]) -> Reads[M]:
    """How values are read whose ``model`` was declared so.

    Raises:
        DefinitionError: neither a pydantic model nor anything that reads.
    """
    if isinstance(model, type):
        if issubclass(model, BaseModel):
            return JsonOf(model)
    elif callable(getattr(model, "read", None)) and hasattr(model, "model"):
        return model
    raise DefinitionError(f"{at}: model is {model!r}; give a class derived from pydantic.BaseModel, or a Normalizer")
