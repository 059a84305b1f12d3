"""A semantic lock: who holds it, who waits, in which order it is handed on, and who gives way in a deadlock."""

from __future__ import annotations

from sagaline.orchestrator.messages.entities import Grant, Lock
from sagaline.orchestrator.messages.entity_messages import Acquire, Deadlocked, Granted, Probe, ProbeLock, Release
from sagaline.orchestrator.messages.outputs import Answer, Outcome
from sagaline.orchestrator.messages.reasons import ReasonCode

from .kernel_entities import Told, told

ID = "@lock/account/7"


def acquire(by: str, place: str = "pay", id: str = "") -> Acquire:
    return Acquire(id=id or f"wants-{by}", instance=ID, by=by, place=place)


def release(by: str) -> Release:
    return Release(id=f"frees-{by}", instance=ID, by=by)


def held(*wanted: str) -> Told:
    """The first holds it, the others wait in that order."""
    lock = Told()
    for by in wanted:
        lock.hear(acquire(by))
    return lock


def probe(lock: Told, *path: str) -> Answer:
    return lock.hear(ProbeLock(id="p", instance=ID, path=path))


def test_a_free_lock_is_granted_at_once() -> None:
    """It keeps who holds it for which place since when."""
    answer = Told().hear(acquire("s/1"), now_ms=70)
    grant = Grant(by="s/1", place="pay", at_ms=70)
    assert answer.entity == Lock(id=ID, name="account/7", revision=1, holder=grant)
    assert answer.outcome is Outcome.APPLIED
    assert told(answer) == [Granted(id="wants-s/1/granted/s/1/pay", instance="s/1", place="pay", lock="account/7")]


def test_who_holds_it_is_granted_it_again_and_holds_it_since_the_first_time() -> None:
    """Two steps of one instance may name the same lock."""
    lock = held("s/1")
    answer = lock.hear(acquire("s/1", "ship", id="again"), now_ms=5_000)
    assert answer.entity == Lock(id=ID, name="account/7", revision=2, holder=Grant(by="s/1", place="pay", at_ms=1_000))
    assert told(answer) == [Granted(id="again/granted/s/1/ship", instance="s/1", place="ship", lock="account/7")]


def test_others_wait_in_order_of_arrival_and_a_probe_goes_to_the_holder() -> None:
    """Each wait sends one, which names who waits for which lock."""
    lock = held("s/1", "s/2")
    answer = lock.hear(acquire("s/3"), now_ms=2_000)
    assert isinstance(answer.entity, Lock)
    assert answer.entity.holder == Grant(by="s/1", place="pay", at_ms=1_000)
    assert answer.entity.waiting == (
        Grant(by="s/2", place="pay", at_ms=1_000),
        Grant(by="s/3", place="pay", at_ms=2_000),
    )
    assert answer.entity.revision == 3
    assert answer.outcome is Outcome.APPLIED
    assert told(answer) == [Probe(id="wants-s/3/probe", instance="s/1", path=("s/3", ID))]


def test_who_waits_at_a_place_waits_there_once() -> None:
    """At another place it waits once more."""
    lock = held("s/1", "s/2")
    before = lock.entity
    assert lock.hear(acquire("s/2")) == Answer(
        entity=before, outcome=Outcome.UNCHANGED, code=ReasonCode.DUPLICATE, reason="it waits already"
    )
    assert lock.hear(acquire("s/2", "ship")).outcome is Outcome.APPLIED
    assert lock.hear(acquire("s/3", "pay")).outcome is Outcome.APPLIED


def test_a_released_lock_goes_to_who_waits_longest() -> None:
    """The others probe the new holder, each of them once."""
    lock = held("s/1", "s/2", "s/3", "s/2", "s/4")
    lock.hear(acquire("s/3", "ship"))
    answer = lock.hear(release("s/1"), now_ms=9_000)
    assert isinstance(answer.entity, Lock)
    assert answer.entity.holder == Grant(by="s/2", place="pay", at_ms=1_000)
    assert [(each.by, each.place) for each in answer.entity.waiting] == [
        ("s/3", "pay"),
        ("s/4", "pay"),
        ("s/3", "ship"),
    ]
    assert answer.entity.revision == 6
    assert answer.outcome is Outcome.APPLIED
    assert told(answer) == [
        Granted(id="frees-s/1/granted/s/2/pay", instance="s/2", place="pay", lock="account/7"),
        Probe(id="frees-s/1/probe/s/3", instance="s/2", path=("s/3", ID)),
        Probe(id="frees-s/1/probe/s/4", instance="s/2", path=("s/4", ID)),
    ]


def test_a_lock_is_owned_by_an_instance_and_granted_to_all_of_its_places_that_wait() -> None:
    """Also those that came behind others; it is held since the first of them waited, and nobody waits for himself."""
    lock = held("s/1", "s/2", "s/3")
    lock.hear(acquire("s/2", "ship"))
    answer = lock.hear(release("s/1"))
    assert told(answer) == [
        Granted(id="frees-s/1/granted/s/2/pay", instance="s/2", place="pay", lock="account/7"),
        Granted(id="frees-s/1/granted/s/2/ship", instance="s/2", place="ship", lock="account/7"),
        Probe(id="frees-s/1/probe/s/3", instance="s/2", path=("s/3", ID)),
    ]
    assert isinstance(answer.entity, Lock)
    assert answer.entity.holder == Grant(by="s/2", place="pay", at_ms=1_000)
    assert [each.by for each in answer.entity.waiting] == ["s/3"]


def test_the_last_release_leaves_nothing_to_remember() -> None:
    assert held("s/1").hear(release("s/1")) == Answer(entity=None, outcome=Outcome.APPLIED)


def test_a_release_of_who_only_waits_withdraws_it() -> None:
    """The holder keeps it."""
    lock = held("s/1", "s/2", "s/3")
    answer = lock.hear(release("s/2"))
    assert isinstance(answer.entity, Lock)
    assert answer == Answer(entity=answer.entity, outcome=Outcome.APPLIED)
    assert answer.entity.holder == Grant(by="s/1", place="pay", at_ms=1_000)
    assert [each.by for each in answer.entity.waiting] == ["s/3"]
    assert answer.entity.revision == 4


def test_a_release_of_what_nobody_holds_is_ignored() -> None:
    assert Told().hear(release("s/1")) == Answer(
        entity=None, outcome=Outcome.IGNORED, code=ReasonCode.STALE, reason="the lock is free"
    )
    empty = Lock(id=ID, name="account/7")
    assert Told(empty).hear(release("s/1")) == Answer(
        entity=empty, outcome=Outcome.IGNORED, code=ReasonCode.STALE, reason="the lock is free"
    )


def test_a_probe_is_passed_on_to_the_holder_with_this_lock_on_its_path() -> None:
    lock = held("s/1", "s/2")
    answer = probe(lock, "s/9", "@lock/x", "s/2")
    assert told(answer) == [Probe(id="p/on", instance="s/1", path=("s/9", "@lock/x", "s/2", ID))]
    assert (answer.entity, answer.outcome) == (lock.entity, Outcome.UNCHANGED)


def test_a_probe_that_comes_back_to_the_holder_has_found_a_deadlock() -> None:
    """Of the instances on the cycle the one with the greatest id gives way; what only led to the cycle stays out."""
    lock = held("5/a", "2/b")
    answer = probe(lock, "9/c", "@lock/w", "5/a", "@lock/x", "2/b")
    cycle = ("5/a", "@lock/x", "2/b", ID)
    assert told(answer) == [Deadlocked(id="p/deadlock", instance="5/a", cycle=cycle)]
    assert (answer.entity, answer.outcome, answer.reason) == (
        lock.entity,
        Outcome.UNCHANGED,
        "deadlock; 5/a gives up its wait",
    )


def test_a_probe_of_who_waits_no_more_is_ignored() -> None:
    lock = held("s/1", "s/2")
    reason = "the instance does not wait for this lock any more"
    assert probe(lock, "s/2", "@lock/x", "s/3") == Answer(
        entity=lock.entity, outcome=Outcome.IGNORED, code=ReasonCode.STALE, reason=reason
    )


def test_a_probe_where_nobody_waits_or_that_has_gone_too_far_is_ignored() -> None:
    """A hundred stations are passed on, one more is not: probes do not run for ever."""
    reason = "the lock is free, or the path is too long"
    assert probe(Told(), "s/2") == Answer(entity=None, outcome=Outcome.IGNORED, code=ReasonCode.STALE, reason=reason)
    empty = Lock(id=ID, name="account/7")
    assert probe(Told(empty), "s/2") == Answer(
        entity=empty, outcome=Outcome.IGNORED, code=ReasonCode.STALE, reason=reason
    )
    lock = held("s/1", "s/2")
    path = [f"s/x{number}" for number in range(99)]
    assert probe(lock, *path, "s/2").outcome is Outcome.UNCHANGED
    assert probe(lock, "s/y", *path, "s/2") == Answer(
        entity=lock.entity, outcome=Outcome.IGNORED, code=ReasonCode.STALE, reason=reason
    )
