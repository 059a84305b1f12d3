"""A semantic lock: held by one instance, for all of its places; others wait in order of arrival.

Deadlocks are detected by probes that travel from a lock to its holder and on to the locks that the holder waits for.
Each wait sends a probe when it begins and when the holder changes; one instance of a cycle is told to give up.
Source: Chandy, Misra and Haas, "Distributed deadlock detection", 1983.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from ..messages.entities import Grant, Lock
from ..messages.entity_messages import Acquire, Deadlocked, Granted, Probe, ProbeLock, Release, ToLock
from ..messages.outputs import Answer, Outcome, Tell
from ..messages.reasons import ReasonCode

__all__ = ["decide_lock"]

_PATH_MAX = 100


def decide_lock(lock: Lock | None, message: ToLock, now_ms: int) -> Answer:
    """Decides what a lock does with a message."""
    match message:
        case Acquire():
            return _acquire(lock or Lock(id=message.instance, name=message.instance.split("/", 1)[1]), message, now_ms)
        case Release():
            return _release(lock, message)
        case ProbeLock():
            return _probe(lock, message)
        case _:
            assert_never(message)


def _acquire(lock: Lock, message: Acquire, now_ms: int) -> Answer:
    grant = Grant(by=message.by, place=message.place, at_ms=now_ms)
    if lock.holder is None or lock.holder.by == message.by:
        after = replace(lock, holder=lock.holder or grant, revision=lock.revision + 1)
        return Answer(entity=after, outcome=Outcome.APPLIED, actions=(_granted(lock, grant, message.id),))
    if any((each.by, each.place) == (message.by, message.place) for each in lock.waiting):
        return Answer(entity=lock, outcome=Outcome.UNCHANGED, code=ReasonCode.DUPLICATE, reason="it waits already")
    after = replace(lock, waiting=(*lock.waiting, grant), revision=lock.revision + 1)
    probe = Probe(id=f"{message.id}/probe", instance=lock.holder.by, path=(message.by, lock.id))
    return Answer(entity=after, outcome=Outcome.APPLIED, actions=(Tell(message=probe),))


def _granted(lock: Lock, grant: Grant, cause: str) -> Tell:
    number = f"{cause}/granted/{grant.by}/{grant.place}"
    return Tell(message=Granted(id=number, instance=grant.by, place=grant.place, lock=lock.name))


def _release(lock: Lock | None, message: Release) -> Answer:
    if lock is None or lock.holder is None:
        return _stale(lock, "the lock is free")
    waiting = tuple(each for each in lock.waiting if each.by != message.by)
    if lock.holder.by != message.by:
        left = replace(lock, waiting=waiting, revision=lock.revision + 1)
        return Answer(entity=left, outcome=Outcome.APPLIED)
    if not waiting:
        return Answer(entity=None, outcome=Outcome.APPLIED)
    holder = waiting[0]
    others = tuple(each for each in waiting if each.by != holder.by)
    after = replace(lock, holder=holder, waiting=others, revision=lock.revision + 1)
    granted = [_granted(lock, each, message.id) for each in waiting if each.by == holder.by]
    probes = [
        Tell(message=Probe(id=f"{message.id}/probe/{by}", instance=holder.by, path=(by, lock.id)))
        for by in dict.fromkeys(each.by for each in others)
    ]
    return Answer(entity=after, outcome=Outcome.APPLIED, actions=(*granted, *probes))


def _probe(lock: Lock | None, message: ProbeLock) -> Answer:
    if lock is None or lock.holder is None or len(message.path) > _PATH_MAX:
        return _stale(lock, "the lock is free, or the path is too long")
    path, holder = (*message.path, lock.id), lock.holder.by
    if message.path[-1] not in {each.by for each in lock.waiting}:
        return _stale(lock, "the instance does not wait for this lock any more")
    if holder not in path:
        told = Tell(message=Probe(id=f"{message.id}/on", instance=holder, path=path))
        return _answered(lock, told, "sent on to the holder")
    cycle = path[path.index(holder) :]
    victim = max(each for each in cycle if not each.startswith("@"))
    told = Tell(message=Deadlocked(id=f"{message.id}/deadlock", instance=victim, cycle=cycle))
    return _answered(lock, told, f"deadlock; {victim} gives up its wait")


def _stale(lock: Lock | None, text: str) -> Answer:
    return Answer(entity=lock, outcome=Outcome.IGNORED, code=ReasonCode.STALE, reason=text)


def _answered(lock: Lock, told: Tell, text: str) -> Answer:
    return Answer(entity=lock, outcome=Outcome.UNCHANGED, actions=(told,), code=ReasonCode.ANSWERED, reason=text)
