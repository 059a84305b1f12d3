"""The laws: conditions on the records of a finished run. Each has a name and a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from .delays import delayed
from .forked import forked
from .forward import blamed, completed, late_replies, past_pivot, paused, slept, width
from .gathered import gathered, late, sorted_out
from .generations import restarted
from .keys import archived, one_instance, queued
from .letters import redriven
from .mended import edited, replaced
from .records import (
    accepted,
    act_once,
    at_home,
    command_once,
    dead,
    decided_once,
    done,
    effect_once,
    ends,
    event_once,
    handed_on,
    lets_go,
    not_early,
    not_late,
    recomputed,
    revisions,
    time,
    told_once,
    wakes,
)
from .schedules import scheduled
from .talking import locked, mailed, routed
from .travelling import travelled
from .unwinding import compensated, in_order
from .witness import Evidence

__all__ = ["LAWS", "SENTENCES", "Breach", "Law", "breaches"]


class Law(StrEnum):
    """The names of the checks."""

    ENDS = "ends"
    ACCEPTED = "accepted"
    ONE_INSTANCE = "one-instance"
    QUEUED = "queued"
    ARCHIVED = "archived"
    DECIDED_ONCE = "decided-once"
    AT_HOME = "at-home"
    REVISIONS = "revisions"
    RECOMPUTED = "recomputed"
    COMMAND_ONCE = "command-once"
    TOLD_ONCE = "told-once"
    EVENT_ONCE = "event-once"
    ACT_ONCE = "act-once"
    EDITED = "edited"
    REPLACED = "replaced"
    RESTARTED = "restarted"
    FORKED = "forked"
    EFFECT_ONCE = "effect-once"
    DONE = "done"
    COMPENSATED = "compensated"
    IN_ORDER = "in-order"
    COMPLETED = "completed"
    TRAVELLED = "travelled"
    PAST_PIVOT = "past-pivot"
    PAUSED = "paused"
    WIDTH = "width"
    LATE_REPLY = "late-reply"
    LATE = "late"
    GATHERED = "gathered"
    SORTED = "sorted"
    BLAMED = "blamed"
    LOCKED = "locked"
    MAILED = "mailed"
    ROUTED = "routed"
    DELAYED = "delayed"
    SCHEDULED = "scheduled"
    HANDED_ON = "handed-on"
    TIME = "time"
    SLEPT = "slept"
    NOT_EARLY = "not-early"
    NOT_LATE = "not-late"
    WAKES = "wakes"
    LETS_GO = "lets-go"
    DEAD = "dead"
    REDRIVEN = "redriven"
    RUNS = "runs"


SENTENCES: Final[Mapping[Law, str]] = {
    Law.ENDS: "after healing, every instance ends or needs attention for a reason that no act resolves (G4)",
    Law.ACCEPTED: "every acknowledged request is answered in the history (G1)",
    Law.ONE_INSTANCE: "a key has one run at a time, and another only if a start or an event asks for it (G1)",
    Law.QUEUED: "a start that waits for a run begins the next one once, in its turn; one that replaces a run ends it",
    Law.ARCHIVED: "the last document of a run is archived once, when it is removed, if its definition says so",
    Law.DECIDED_ONCE: "an input or a timer is decided once (G2)",
    Law.AT_HOME: "an instance is decided only on its own partition (G2)",
    Law.REVISIONS: "in history and state topic revisions grow by one, without a gap (G2)",
    Law.RECOMPUTED: "recomputing the history gives the stored document (G2, G9)",
    Law.COMMAND_ONCE: "the engine publishes each command once, and exactly the commands in the history (G2, G3)",
    Law.TOLD_ONCE: "a message between entities arrives once (G2)",
    Law.EVENT_ONCE: "an event of a saga is published once (G2)",
    Law.ACT_ONCE: "an operator's act is applied once, even if it is sent several times",
    Law.EDITED: "an edit or a restart patches the state as given; a patch that does not fit changes nothing",
    Law.REPLACED: "a replaced undo is sent as the operator gave it",
    Law.RESTARTED: "steps that a restart repeats were undone once before, and get new effect keys (G3, G5)",
    Law.FORKED: "a fork starts one instance; the steps it has taken over are never repeated or undone (G1, G5)",
    Law.EFFECT_ONCE: "an effect key takes effect at most once, is undone at most once, and never after its undo (G3)",
    Law.DONE: "a step that is done took effect; one that was rejected did not (G3)",
    Law.COMPENSATED: "every effect of a compensated instance, or of a dropped branch, is undone once (G5)",
    Law.IN_ORDER: "undos run in reverse order of completion, unless declared otherwise (G5)",
    Law.COMPLETED: "a completed instance has run all nodes that its definition requires",
    Law.TRAVELLED: "a completed slip was at every stop; a compensated one is undone from its end completely (G5)",
    Law.PAST_PIVOT: "past the pivot nothing before it is under way, and nothing is undone (G5)",
    Law.PAUSED: "a paused instance does nothing: it accepts only acts and heartbeats, and none of its timers fires",
    Law.WIDTH: "no more parts of a collection run at once than declared",
    Law.LATE_REPLY: "only the first reply to the newest attempt is applied (G8)",
    Law.LATE: "an event after the end of its process is ignored, a dead letter or the next run's first, as declared",
    Law.GATHERED: "a completed aggregator publishes one result, with each of its parts once",
    Law.SORTED: "a resequencer publishes each number once, in order; what it leaves out is a dead letter or came again",
    Law.BLAMED: "only code that raised is blamed (G6)",
    Law.LOCKED: "a lock has one holder, an instance with all its places; others get it in order of arrival",
    Law.MAILED: "within its keep an event reaches each instance that waits for it, at its longest waiting place",
    Law.ROUTED: "an instance takes the branch that the rules of its table version select",
    Law.DELAYED: "a delayed message is forwarded once, as it was given, and not before its time (G7)",
    Law.SCHEDULED: "a schedule starts each due time once, a late one as its policy says, and none once it is deleted",
    Law.HANDED_ON: "a worker commits a position only after the answers to all earlier commands are durable (G3)",
    Law.TIME: "a decision is dated by its owner's clock; the time of an instance's last change never decreases",
    Law.SLEPT: "a sleep lasts as long as declared (G7)",
    Law.NOT_EARLY: "no timer fires before it is due by its owner's clock (G7)",
    Law.NOT_LATE: "after healing, timers fire when they are due, and none is missed (G7)",
    Law.WAKES: "a live instance has a timer, waits for another entity that has one, or needs attention (G4)",
    Law.LETS_GO: "no ended instance holds a lock or waits in a mailbox (G4)",
    Law.DEAD: "only messages that cannot be read or can never be carried out become dead letters (G6)",
    Law.REDRIVEN: "a dead letter is put back once if it is redriven, as it was edited, and never if it is not",
    Law.RUNS: "processes fail only because of injected faults (G6)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A broken law, and where."""

    law: Law
    message: str

    def __str__(self) -> str:
        return f"{self.law}: {self.message}"


def breaches(found: Evidence) -> Iterator[Breach]:
    """The laws that a run breaks."""
    for law, check in LAWS.items():
        for message in check(found):
            yield Breach(law=law, message=message)


LAWS: Final[Mapping[Law, Callable[[Evidence], Iterator[str]]]] = {
    Law.ACCEPTED: accepted,
    Law.ONE_INSTANCE: one_instance,
    Law.QUEUED: queued,
    Law.ARCHIVED: archived,
    Law.DECIDED_ONCE: decided_once,
    Law.AT_HOME: at_home,
    Law.REVISIONS: revisions,
    Law.RECOMPUTED: recomputed,
    Law.COMMAND_ONCE: command_once,
    Law.TOLD_ONCE: told_once,
    Law.EVENT_ONCE: event_once,
    Law.ACT_ONCE: act_once,
    Law.EDITED: edited,
    Law.REPLACED: replaced,
    Law.RESTARTED: restarted,
    Law.FORKED: forked,
    Law.EFFECT_ONCE: effect_once,
    Law.DONE: done,
    Law.COMPENSATED: compensated,
    Law.IN_ORDER: in_order,
    Law.COMPLETED: completed,
    Law.TRAVELLED: travelled,
    Law.PAST_PIVOT: past_pivot,
    Law.PAUSED: paused,
    Law.WIDTH: width,
    Law.LATE_REPLY: late_replies,
    Law.LATE: late,
    Law.GATHERED: gathered,
    Law.SORTED: sorted_out,
    Law.BLAMED: blamed,
    Law.LOCKED: locked,
    Law.MAILED: mailed,
    Law.ROUTED: routed,
    Law.DELAYED: delayed,
    Law.SCHEDULED: scheduled,
    Law.HANDED_ON: handed_on,
    Law.TIME: time,
    Law.SLEPT: slept,
    Law.NOT_EARLY: not_early,
    Law.NOT_LATE: not_late,
    Law.WAKES: wakes,
    Law.LETS_GO: lets_go,
    Law.DEAD: dead,
    Law.REDRIVEN: redriven,
    Law.ENDS: ends,
}
"""Every law that is checked on the records, the most telling first; ``runs`` is checked while playing."""
