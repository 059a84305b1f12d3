"""``Vault``: seals and opens personal values, by a key of each subject that is kept on the log and can be erased.

- The keys are records of a compacted topic with one partition: ``{subject}/{key id}`` → the key, sealed by the key ring
  of the settings. They are nowhere else, so a tombstone on each erases what they have sealed, in every copy of it.
- A subject may have several keys, if two processes made one at once; all seal with the one that is first on the topic.
- Values are sealed by AES-SIV (RFC 5297), which gives the same for the same value and subject: a start that is repeated
  is still the same start. It tells no more than that two values of one person are equal.
- A process reads the topic when it seals or opens, at most every quarter of a second: by then it knows an erasure.
- A key that is sealed anew is written beside its first record, as ``{subject}/{key id}~``, so that it never takes the
  place of a tombstone: ids are not used again, and a key that has a tombstone is void wherever it stands. An erasure
  writes a tombstone on both.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from ...sagas.personal import Personal, personal_in, subject_wrong
from ..errors import CorruptRecord, InvalidRequest, LogUnavailable, MissingKey
from ..ports.log import Log, Outgoing, Record, Tail, TopicPartition
from .keys import KeyRing

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

__all__ = ["Vault", "checked_subject"]

_FORM: Final = b"\x01"
_ID_BYTES: Final = 8
_KEY_BYTES: Final = 64
_FRESH_SECONDS: Final = 0.25
_POLL_RECORDS: Final = 1_000
_POLL_SECONDS: Final = 1.0
_STUCK_SECONDS: Final = 30.0
_REWRAP_RECORDS: Final = 100
_ANEW: Final = b"~"


class _Kept(NamedTuple):
    """A key of a subject as the topic has it: by which key of the ring it is sealed, and the bytes."""

    ring_id: str
    sealed: bytes


class _Keys:
    """What the topic has. ``gone``: keys that were erased, by subject and id."""

    def __init__(self, gone: set[tuple[str, bytes]]) -> None:
        self.kept: dict[str, dict[bytes, _Kept]] = {}
        """By subject and key id, in the order of the topic."""
        self.gone = gone
        self.void: dict[tuple[str, bytes], None] = {}
        """Keys that stand behind their tombstones: sealed anew while they were erased."""

    def take(self, record: Record) -> None:
        subject, _, text = (record.key or b"").rpartition(b"/")
        name, id = subject.decode(errors="replace"), bytes.fromhex(text.removesuffix(_ANEW).decode(errors="replace"))
        if record.value is None:
            self.gone.add((name, id))
            self.void.pop((name, id), None)
            keys = self.kept.get(name, {})
            keys.pop(id, None)
            if not keys:
                self.kept.pop(name, None)
        elif (name, id) in self.gone:
            self.void[name, id] = None
        else:
            found = json.loads(record.value)
            self.kept.setdefault(name, {})[id] = _Kept(found["key"], b64decode(found["sealed"]))


class Vault:
    """The personal data of a namespace, in one process. Safe for concurrent use by tasks of one event loop.

    Args:
        log: where the keys are.
        topic: the topic of the keys.
        ring: what the keys are sealed by.
    """

    def __init__(self, log: Log, topic: str, ring: KeyRing) -> None:
        self._log, self._topic, self._ring = log, topic, ring
        self._keys = _Keys(set())
        self._reading = asyncio.Lock()
        self._tail: Tail | None = None
        self._read_at = float("-inf")

    async def seal(self, value: object) -> None:
        """Seals every personal value of a model, in place; they stay open in this object. Sealed ones stay as they are.

        Raises:
            InvalidRequest: a value has no subject in its model, would not read back, or is sealed for another subject.
            ConfigurationError: there is no key to seal with.
            LogUnavailable: the keys cannot be read or written now.
        """
        for each, found in list(personal_in(value)):
            subject = checked_subject(each, found)
            if each.sealed is None:
                written = _written(each, subject)
                id, key = await self._key_for(subject)
                sealed = _cipher(key).encrypt(written, [_FORM, subject.encode()])
                each.seal(b64encode(_FORM + id + sealed).decode(), subject)

    async def seal_foreign(self, value: object) -> None:
        """As ``seal``, a model from outside: what came sealed must open.

        Raises:
            InvalidRequest: also: a sealed value was altered, was never sealed here, does not fit its field, or its
                subject was erased.
            MissingKey: the key ring lacks a key, so a sealed value cannot be checked.
            ConfigurationError, LogUnavailable: as ``seal``.
        """
        for each, _ in list(personal_in(value)):
            if each.sealed is not None and not each.is_open:
                whose = f"a sealed personal value of {(each.subject or '')[:80]!r}"
                try:
                    written = await self._unsealed(each)
                    if written is not None:
                        each.read(written)
                except (MissingKey, LogUnavailable):
                    raise
                except Exception:  # also what the author's validators raise
                    text = f"{whose} does not open here; pass one on as you got it, or give the plain value"
                    raise InvalidRequest(text) from None
                if written is None:
                    raise InvalidRequest(f"{whose} is of a key that does not exist: it was erased; leave the value out")
        await self.seal(value)

    async def open(self, value: object) -> None:
        """Opens every personal value of a model, in place; ``reveal`` of one that is erased raises ``Erased``.

        Raises:
            MissingKey: the key ring lacks a key.
            CorruptRecord: a value was altered, or is not of the subject that it says.
            LogUnavailable: the keys cannot be read now.
        """
        for each, _ in list(personal_in(value)):
            if not each.is_open and each.sealed is not None:
                written = await self._unsealed(each)
                try:
                    each.open(written)
                except Exception:  # also what the author's validators raise
                    why = "it does not fit the type of its field; read it by the type that it was written with"
                    raise CorruptRecord(f"a personal value of {each.subject!r}", why) from None

    async def keys_of(self, subject: str) -> Sequence[str]:
        """The ids of the keys on the topic that a subject has now, also void ones.

        Raises:
            LogUnavailable: the keys cannot be read now.
        """
        await self._read(fresh=True)
        void = [id for name, id in self._keys.void if name == subject]
        return [id.hex() for id in (*self._keys.kept.get(subject, ()), *void)]

    async def rewrap(self) -> int:
        """Seals every key anew that is not sealed by the newest key of the ring; returns how many.

        After it no other key of the ring is needed for personal data. A key that is erased meanwhile stays erased.

        Raises:
            MissingKey, CorruptRecord: a key cannot be opened; those before it are sealed anew.
            LogUnavailable: some may have been sealed anew; call it again.
        """
        await self._end_void()
        newest = self._ring.newest
        old = [(name, id) for name, keys in self._keys.kept.items() for id in keys if keys[id].ring_id != newest]
        for first in range(0, len(old), _REWRAP_RECORDS):
            left = [(name, id) for name, id in old[first : first + _REWRAP_RECORDS] if id in self._of(name)]
            if left:
                await self._log.append([self._record(name, id, self._key(name, id), _ANEW) for name, id in left])
            await self._end_void()
        return sum(1 for name, id in old if (kept := self._of(name).get(id)) is not None and kept.ring_id == newest)

    async def _end_void(self) -> None:
        """Writes another tombstone for each key behind its own: it was erased while it was sealed anew."""
        await self._read(fresh=True)
        if self._keys.void:
            names = [_name(subject, id) + end for subject, id in self._keys.void for end in (b"", _ANEW)]
            await self._log.append([Outgoing(self._topic, name, None, (), 0) for name in names])
            await self._read(fresh=True)

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

    def _of(self, subject: str) -> dict[bytes, _Kept]:
        return self._keys.kept.get(subject, {})

    async def _unsealed(self, value: Personal[object]) -> bytes | None:
        """What a sealed value was sealed from; None: its key is erased."""
        subject = value.subject or ""
        try:
            raw = b64decode(value.sealed or "", validate=True)
        except ValueError:
            raw = b""
        form, id, sealed = raw[:1], raw[1 : 1 + _ID_BYTES], raw[1 + _ID_BYTES :]
        if form != _FORM:
            raise CorruptRecord(f"a personal value of {subject!r}", "it is not sealed by a release that is known here")
        await self._read(fresh=False)
        if id not in self._of(subject):
            await self._read(fresh=True)
        if id not in self._of(subject):
            return None
        from cryptography.exceptions import InvalidTag

        try:
            return _cipher(self._key(subject, id)).decrypt(sealed, [_FORM, subject.encode()])
        except (InvalidTag, ValueError):
            raise CorruptRecord(f"a personal value of {subject!r}", "it was altered, or is another person's") from None

    async def _key_for(self, subject: str) -> tuple[bytes, bytes]:
        """Id and key of a subject; a new key is on the log before anything is sealed by it."""
        await self._read(fresh=False)
        if not self._of(subject):
            await self._read(fresh=True)
        if not self._of(subject):
            id, key = secrets.token_bytes(_ID_BYTES), secrets.token_bytes(_KEY_BYTES)
            await self._log.append([self._record(subject, id, key)])
            await self._read(fresh=True)
        kept = self._of(subject)
        if not kept:
            raise InvalidRequest(f"the data of {subject!r} are being erased; send it again later")
        id = next(iter(kept))
        return id, self._key(subject, id)

    def _record(self, subject: str, id: bytes, key: bytes, end: bytes = b"") -> Outgoing:
        name = _name(subject, id)
        ring_id, sealed = self._ring.seal(key, name)
        value = json.dumps({"key": ring_id, "sealed": b64encode(sealed).decode()}).encode()
        return Outgoing(self._topic, name + end, value, (("content-type", b"application/json"),), 0)

    def _key(self, subject: str, id: bytes) -> bytes:
        kept = self._of(subject)[id]
        try:
            return self._ring.open(kept.ring_id, kept.sealed, _name(subject, id))
        except ValueError as error:
            raise CorruptRecord(f"{self._topic}: the key of {subject!r}", str(error)) from error

    async def _read(self, *, fresh: bool) -> None:
        """Reads the topic to its end, unless that was begun a moment ago, or for ``fresh`` after this call."""
        loop = asyncio.get_running_loop()
        since = loop.time() - (0 if fresh else _FRESH_SECONDS)
        if self._read_at > since:
            return
        async with self._reading:
            if self._read_at > since:  # by another task, while this one waited
                return
            began = loop.time()
            try:
                if self._tail is None:
                    self._tail = await self._log.tail([self._topic], "earliest")
                    keys = _Keys(self._keys.gone)
                    await self._follow(self._tail, keys)
                    self._keys = keys
                else:
                    await self._follow(self._tail, self._keys)
            except BaseException:
                await self.close()
                raise
            self._read_at = began

    async def _follow(self, tail: Tail, keys: _Keys) -> None:
        loop, place = asyncio.get_running_loop(), TopicPartition(self._topic, 0)
        end, moved = (await self._log.end_offsets([self._topic]))[place], loop.time()
        while (at := tail.positions()[place]) < end:
            for record in await tail.poll(max_records=_POLL_RECORDS, timeout=_POLL_SECONDS):
                keys.take(record)
            if tail.positions()[place] > at:
                moved = loop.time()
            elif loop.time() - moved > _STUCK_SECONDS:
                text = f"{self._topic} cannot be read on from {at} of {end}; check the broker, then try again"
                raise LogUnavailable(text)


def _written(value: Personal[object], subject: str) -> bytes:
    try:
        written = value.written()
        value.read(written)
    except Exception:  # also what the author's validators raise; no text may show the value
        text = f"a personal value of {subject!r} would not read back by the type of its field; give a valid value"
        raise InvalidRequest(text) from None
    return written


def checked_subject(value: Personal[object], subject: object) -> str:
    """Whose a value is, as the model around it or its sealed form says.

    Raises:
        InvalidRequest: nothing says it, it cannot be an id, or both say something else.
    """
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
