"""``PersonalData``: seals and opens the personal values of models, and erases those of a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from pydantic import BaseModel, JsonValue
from pydantic_core import from_json

from ...sagas.models import as_json, read_foreign, unknown_fields
from ...sagas.personal import SEALED_FIELDS, holds_personal, subject_wrong
from ..errors import InvalidRequest, TransientError
from ..messages.personal import ERASED_TABLE, rule_of_erased
from ..vault import Vault
from .options import PLAIN, RequestOptions
from .tables import Tables

__all__ = ["Erasure", "PersonalData", "Rewrapped", "Seals", "check_letter", "sealed"]

M = TypeVar("M", bound=BaseModel)

_ROUNDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """The data of a person can no longer be opened. ``keys``: how many were erased; 0: there was none."""

    subject: str
    keys: int
    trace_id: str | None


class Rewrapped(NamedTuple):
    """How many keys of persons were sealed anew, and the id of the key that has sealed all of them."""

    keys: int
    sealed_by: str


class Seals(Protocol):
    """Seals a model from outside; see ``Vault``."""

    async def seal_foreign(self, value: object) -> None: ...


async def sealed(
    vault: Seals, model: type[BaseModel], value: BaseModel | Mapping[str, JsonValue], what: str
) -> BaseModel | Mapping[str, JsonValue]:
    """The value with its personal fields sealed; one that does not fit its model is returned as it is.

    Args:
        vault: seals, and checks what came sealed.
        model: of the value; most have no personal fields, and cost nothing here.
        value: a model, which is sealed in place, or JSON.
        what: the request's field that holds it.

    Raises:
        InvalidRequest: a value cannot be sealed, or one that came sealed does not open; ``field`` is ``what``.
        MissingKey: one that came sealed cannot be checked here.
        ConfigurationError: there is no key to seal with.
        LogUnavailable: the keys cannot be read or written now.
    """
    if not holds_personal(model):
        return value
    found: BaseModel
    if isinstance(value, BaseModel):
        found = value
    else:
        try:
            found = read_foreign(model, dict(value), extra=unknown_fields(model))
        except Exception:  # the check of the value says what is wrong with it
            return value
    try:
        await vault.seal_foreign(found)
    except InvalidRequest as error:
        raise InvalidRequest(f"{what}: {error}", field=what) from error
    return found if isinstance(value, BaseModel) else as_json(found, model)


def check_letter(before: bytes | None, after: bytes | None) -> None:
    """An edit of a message must keep sealed what is sealed in it; nothing else says here which fields are personal.

    Raises:
        InvalidRequest: it does not. Field ``value``.
    """
    if before is None or after is None or not (paths := list(_sealed_in(_parsed(before)))):
        return
    now = _parsed(after)
    for path in paths:
        if not _is_sealed_or_gone(now, path):
            at = ".".join(map(str, path))
            text = f"value: {at} is sealed, and would be plain; keep it as it is, or remove it"
            raise InvalidRequest(text, field="value")


def _parsed(raw: bytes) -> object:
    try:
        return from_json(raw)
    except ValueError:
        return ""


def _sealed_in(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, dict) and value.keys() == SEALED_FIELDS:
        yield path
    elif isinstance(value, dict | list):
        for name, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _sealed_in(each, (*path, name))


def _is_sealed_or_gone(value: object, path: tuple[str | int, ...]) -> bool:
    for each in path:
        if isinstance(value, dict):
            value = value.get(str(each))
        elif isinstance(value, list) and isinstance(each, int):
            value = value[each] if each < len(value) else None
        elif value is not None:
            return False
    return value is None or (isinstance(value, dict) and value.keys() == SEALED_FIELDS)


class PersonalData:
    """Personal values in this process. Safe for concurrent use by tasks of one event loop."""

    def __init__(self, vault: Vault, tables: Tables) -> None:
        self._vault, self._tables = vault, tables

    async def seal(self, value: M) -> M:
        """Seals the personal values of a model in place, where nothing else does it, and returns the model.

        Raises:
            InvalidRequest: a value has no subject in its model, or is of another one.
            ConfigurationError: there is no key to seal with.
            LogUnavailable: the keys cannot be read or written now.
        """
        await self._vault.seal(value)
        return value

    async def open(self, value: M) -> M:
        """Opens the personal values of a model in place, and returns the model; erased ones raise when they are read.

        Raises:
            MissingKey: SAGALINE_PERSONAL_KEYS lacks a key.
            CorruptRecord: a value was altered.
            LogUnavailable: the keys cannot be read now.
        """
        await self._vault.open(value)
        return value

    async def erase(self, subject: str, options: RequestOptions = PLAIN) -> Erasure:
        """Erases the keys of a person: nothing that they have sealed can be opened from then on, in no copy of it.

        Here that holds at once, in other processes within a quarter of a second of their next read. What a worker has
        opened before is not called back. Data that come later get a new key. It may be repeated.

        Raises:
            InvalidRequest: the subject or a text is malformed.
            TransientError: keys of the person are made or sealed anew all the time; repeat it.
            NotYetDecided, LogUnavailable: as ``Client.start``; repeat it.
        """
        if (wrong := subject_wrong(subject)) is not None:
            raise InvalidRequest(f"the subject {wrong}", field="subject")
        erased, trace = set[str](), None
        for _ in range(_ROUNDS):  # a key that is made meanwhile goes too
            keys = await self._vault.keys_of(subject)
            if not keys:
                return Erasure(subject=subject, keys=len(erased), trace_id=trace)
            done = await self._tables.write(
                ERASED_TABLE, [rule_of_erased(subject, keys)], version=None, options=options
            )
            erased, trace = erased | {*keys}, done.trace_id
        raise TransientError(f"keys of {subject!r} were erased {_ROUNDS} times, and others came; repeat it")

    async def rewrap(self) -> Rewrapped:
        """Seals the keys of persons by the newest key of SAGALINE_PERSONAL_KEYS; after that the others can go.

        Raises:
            MissingKey: the settings lack a key that is still needed.
            LogUnavailable: call it again.
        """
        return Rewrapped(await self._vault.rewrap(), self._vault.sealed_by)
