"""``PersonalData``: seals and opens the personal values of models, and erases those of a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from pydantic import BaseModel, JsonValue

from ...sagas import Saga, Step
from ...sagas.definition import AnyDefinition
from ...sagas.models import as_json, read_foreign, unknown_fields
from ...sagas.nodes import Ask
from ...sagas.personal import holds_personal, subject_wrong
from ..errors import InvalidRequest
from ..kernel.places import name_of
from ..messages.inputs import ActName
from ..messages.personal import ERASED_TABLE, rule_of_erased
from ..vault import Vault
from .checks import check_body
from .options import PLAIN, RequestOptions
from .results import OnStep
from .tables import Tables

__all__ = ["Erasure", "PersonalData", "Rewrapped", "sealed", "sealed_on"]

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


async def sealed(
    vault: Vault, model: type[BaseModel], value: BaseModel | Mapping[str, JsonValue], what: str
) -> BaseModel | Mapping[str, JsonValue]:
    """The value with its personal fields sealed; one that does not fit its model is returned as it is.

    Args:
        vault: seals.
        model: of the value; most have no personal fields, and cost nothing here.
        value: a model, which is sealed in place, or JSON.
        what: the request's field that holds it.

    Raises:
        InvalidRequest: a value cannot be sealed; ``field`` is ``what``.
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
        await vault.seal(found)
    except InvalidRequest as error:
        raise InvalidRequest(f"{what}: {error}", field=what) from error
    return found if isinstance(value, BaseModel) else as_json(found, model)


async def sealed_on(vault: Vault, definition: AnyDefinition | None, act: ActName, on: OnStep | None) -> OnStep | None:
    """An answer, or the reply of a skipped step, with its personal fields sealed. Where it has some, it is checked here
    already: the log keeps also what the engine denies.

    Raises:
        InvalidRequest: it does not fit its model, or cannot be sealed. Field ``value`` or below it.
        ConfigurationError, LogUnavailable: as ``sealed``.
    """
    if on is None or on.value is None or act not in (ActName.ANSWER, ActName.SKIP) or not isinstance(definition, Saga):
        return on
    node = next((spot.node for spot in definition.tree if spot.node.name == name_of(on.step)), None)
    model = node.options.form if isinstance(node, Ask) else node.contract.reply if isinstance(node, Step) else None
    if model is None or not holds_personal(model):
        return on
    return replace(on, value=check_body(model, await sealed(vault, model, on.value, "value"), "value"))


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
            NotYetDecided, LogUnavailable: as ``Client.start``; repeat it.
        """
        if (wrong := subject_wrong(subject)) is not None:
            raise InvalidRequest(f"the subject {wrong}", field="subject")
        count, trace = 0, None
        for _ in range(_ROUNDS):  # a key that is made meanwhile goes too
            keys = await self._vault.keys_of(subject)
            if not keys:
                break
            done = await self._tables.write(
                ERASED_TABLE, [rule_of_erased(subject, keys)], version=None, options=options
            )
            count, trace = count + len(keys), done.trace_id
        return Erasure(subject=subject, keys=count, trace_id=trace)

    async def rewrap(self) -> Rewrapped:
        """Seals the keys of persons by the newest key of SAGALINE_PERSONAL_KEYS; after that the others can go.

        Raises:
            MissingKey: the settings lack a key that is still needed.
            LogUnavailable: call it again.
        """
        return Rewrapped(await self._vault.rewrap(), self._vault.sealed_by)
