"""``Vault``: seals and opens personal values, by a key of each subject that is kept on the log and can be erased.

- The keys are records of a compacted topic with one partition: ``{subject}/{key id}`` → the key, sealed by the key ring
  of the settings. They are nowhere else, so a tombstone on each erases what they have sealed, in every copy of it.
- A subject may have several keys, if two processes made one at once; all seal with the one that is first on the topic.
- Values are sealed by AES-SIV (RFC 5297), which gives the same for the same value and subject: a start that is repeated
  is still the same start. It tells no more than that two values of one person are equal.
- A process reads the topic when it seals or opens, at most every quarter of a second: by then it knows an erasure.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from ...sagas.personal import Personal, personal_in, subject_wrong
from ..errors import CorruptRecord, InvalidRequest
from ..ports.log import Log, Outgoing, Record, Tail, TopicPartition
from .keys import KeyRing

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

__all__ = ["Vault"]

_FORM: Final = b"\x01"
_ID_BYTES: Final = 8
_KEY_BYTES: Final = 64
_FRESH_SECONDS: Final = 0.25
_POLL_RECORDS: Final = 1_000
_POLL_SECONDS: Final = 1.0


class _Kept(NamedTuple):
    """A key of a subject as the topic has it: by which key of the ring it is sealed, and the bytes."""

    ring_id: str
    sealed: bytes


class Vault:
    """The personal data of a namespace, in one process. Safe for concurrent use by tasks of one event loop.

    Args:
        log: where the keys are.
        topic: the topic of the keys.
        ring: what the keys are sealed by.
    """

    def __init__(self, log: Log, topic: str, ring: KeyRing) -> None:
        self._log, self._topic, self._ring = log, topic, ring
        self._kept: dict[str, dict[bytes, _Kept]] = {}
        """By subject and key id, in the order of the topic."""
        self._reading = asyncio.Lock()
        self._tail: Tail | None = None
        self._read_at = float("-inf")

    async def seal(self, value: object) -> None:
        """Seals every personal value of a model, in place; they stay open in this object. Sealed ones stay as they are.

        Raises:
            InvalidRequest: a value has no subject in its model, or a sealed one is of another subject.
            ConfigurationError: there is no key to seal with.
            LogUnavailable: the keys cannot be read or written now.
        """
        for each, found in list(personal_in(value)):
            subject = _checked(each, found)
            if each.sealed is None:
                id, key = await self._key_for(subject)
                sealed = _cipher(key).encrypt(each.written(), [_FORM, subject.encode()])
                each.seal(b64encode(_FORM + id + sealed).decode(), subject)

    async def open(self, value: object) -> None:
        """Opens every personal value of a model, in place; ``reveal`` of one that is erased raises ``Erased``.

        Raises:
            MissingKey: the key ring lacks a key.
            CorruptRecord: a value was altered, or is not of the subject that it says.
            LogUnavailable: the keys cannot be read now.
        """
        for each, _ in list(personal_in(value)):
            if not each.is_open and each.sealed is not None:
                await self._open(each, each.subject or "")

    async def keys_of(self, subject: str) -> Sequence[str]:
        """The ids of the keys that a subject has now.

        Raises:
            LogUnavailable: the keys cannot be read now.
        """
        await self._read(fresh=True)
        return [id.hex() for id in self._kept.get(subject, ())]

    async def rewrap(self) -> int:
        """Seals every key anew that is not sealed by the newest key of the ring; returns how many.

        After it no other key of the ring is needed for personal data.

        Raises:
            MissingKey, CorruptRecord: a key cannot be opened; those before it are sealed anew.
            LogUnavailable: some may have been sealed anew; call it again.
        """
        await self._read(fresh=True)
        old = [
            (subject, id)
            for subject, keys in self._kept.items()
            for id, kept in keys.items()
            if kept.ring_id != self._ring.newest
        ]
        for subject, id in old:
            await self._log.append([self._record(subject, id, self._key(subject, id))])
        return len(old)

    @property
    def sealed_by(self) -> str:
        """The id of the key that seals new keys of persons.

        Raises:
            ConfigurationError: there is none.
        """
        return self._ring.newest

    async def close(self) -> None:
        """Never raises."""
        tail, self._tail = self._tail, None
        if tail is not None:
            await tail.close()

    async def _open(self, value: Personal[object], subject: str) -> None:
        try:
            raw = b64decode(value.sealed or "", validate=True)
        except ValueError:
            raw = b""
        form, id, sealed = raw[:1], raw[1 : 1 + _ID_BYTES], raw[1 + _ID_BYTES :]
        if form != _FORM:
            raise CorruptRecord(f"a personal value of {subject!r}", "it is not sealed by a release that is known here")
        await self._read(fresh=False)
        if id not in self._kept.get(subject, ()):
            await self._read(fresh=True)
        if id not in self._kept.get(subject, ()):
            value.open(None)
            return
        from cryptography.exceptions import InvalidTag

        try:
            written = _cipher(self._key(subject, id)).decrypt(sealed, [_FORM, subject.encode()])
        except InvalidTag:
            raise CorruptRecord(f"a personal value of {subject!r}", "it was altered, or is another person's") from None
        try:
            value.open(written)
        except Exception:  # a type of the author may raise anything
            why = "it does not fit the type of its field; read it by the type that it was written with"
            raise CorruptRecord(f"a personal value of {subject!r}", why) from None

    async def _key_for(self, subject: str) -> tuple[bytes, bytes]:
        """Id and key of a subject; a new key is on the log before anything is sealed by it."""
        await self._read(fresh=False)
        if subject not in self._kept:
            await self._read(fresh=True)
        if subject not in self._kept:
            id, key = secrets.token_bytes(_ID_BYTES), secrets.token_bytes(_KEY_BYTES)
            await self._log.append([self._record(subject, id, key)])
            await self._read(fresh=True)
        kept = self._kept.get(subject)
        if not kept:
            raise InvalidRequest(f"the data of {subject!r} are being erased; send it again later")
        id = next(iter(kept))
        return id, self._key(subject, id)

    def _record(self, subject: str, id: bytes, key: bytes) -> Outgoing:
        name = _name(subject, id)
        ring_id, sealed = self._ring.seal(key, name)
        value = json.dumps({"key": ring_id, "sealed": b64encode(sealed).decode()}).encode()
        return Outgoing(self._topic, name, value, (("content-type", b"application/json"),), 0)

    def _key(self, subject: str, id: bytes) -> bytes:
        kept = self._kept[subject][id]
        try:
            return self._ring.open(kept.ring_id, kept.sealed, _name(subject, id))
        except ValueError as error:
            raise CorruptRecord(f"{self._topic}: the key of {subject!r}", str(error)) from error

    async def _read(self, *, fresh: bool) -> None:
        """Reads the topic to its end, unless that was done a moment ago and ``fresh`` does not ask for it."""
        loop = asyncio.get_running_loop()
        if not fresh and loop.time() - self._read_at < _FRESH_SECONDS:
            return
        async with self._reading:
            began = loop.time()
            place = TopicPartition(self._topic, 0)
            if self._tail is None:
                self._tail, self._kept = await self._log.tail([self._topic], "earliest"), {}
            try:
                end = (await self._log.end_offsets([self._topic]))[place]
                while self._tail.positions()[place] < end:
                    for record in await self._tail.poll(max_records=_POLL_RECORDS, timeout=_POLL_SECONDS):
                        self._take(record)
            except BaseException:
                await self.close()
                raise
            self._read_at = began

    def _take(self, record: Record) -> None:
        subject, _, id = (record.key or b"").rpartition(b"/")
        name, number = subject.decode(errors="replace"), bytes.fromhex(id.decode(errors="replace"))
        if record.value is None:
            keys = self._kept.get(name, {})
            keys.pop(number, None)
            if not keys:
                self._kept.pop(name, None)
            return
        found = json.loads(record.value)
        self._kept.setdefault(name, {})[number] = _Kept(found["key"], b64decode(found["sealed"]))


def _checked(value: Personal[object], subject: object) -> str:
    if value.sealed is not None and subject is None:
        return value.subject or ""
    if subject is None:
        text = "a personal value has no subject: mark the field that says whose it is, as Annotated[str, Subject()]"
        raise InvalidRequest(text)
    if (wrong := subject_wrong(subject)) is not None:
        raise InvalidRequest(f"the subject of a personal value {wrong}")
    if value.sealed is not None and value.subject != subject:
        raise InvalidRequest(f"a personal value of {value.subject!r} stands in the data of {subject!r}; give his own")
    return str(subject)


def _name(subject: str, id: bytes) -> bytes:
    return f"{subject}/{id.hex()}".encode()


def _cipher(key: bytes) -> AESSIV:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

    return AESSIV(key)
