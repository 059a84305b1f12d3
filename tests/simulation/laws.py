"""The laws: what must hold of everything that is on record when a run has ended. Each has a name and a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from .forked import forked
from .forward import blamed, completed, late_replies, past_pivot, paused, slept, width
from .generations import restarted
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
    one_instance,
    recomputed,
    revisions,
    time,
    told_once,
    wakes,
)
from .talking import locked, mailed, routed
from .travelling import travelled
from .unwinding import compensated, in_order
from .witness import Evidence

__all__ = ["LAWS", "SENTENCES", "Breach", "Law", "breaches"]


class Law(StrEnum):
    """What is checked."""

    ENDS = "ends"
    ACCEPTED = "accepted"
    ONE_INSTANCE = "one-instance"
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
    BLAMED = "blamed"
    LOCKED = "locked"
    MAILED = "mailed"
    ROUTED = "routed"
    HANDED_ON = "handed-on"
    TIME = "time"
    SLEPT = "slept"
    NOT_EARLY = "not-early"
    NOT_LATE = "not-late"
    WAKES = "wakes"
    LETS_GO = "lets-go"
    DEAD = "dead"
    RUNS = "runs"


SENTENCES: Final[Mapping[Law, str]] = {
    Law.ENDS: "when all is healed, every instance ends or stands in attention with a case (G4)",
    Law.ACCEPTED: "what the log has acknowledged is answered in the history (G1)",
    Law.ONE_INSTANCE: "an instance begins once (G1)",
    Law.DECIDED_ONCE: "an input or a timer is decided about once (G2)",
    Law.AT_HOME: "an instance is decided about only on its own partition (G2)",
    Law.REVISIONS: "in history and state topic revisions grow by one, without a gap (G2)",
    Law.RECOMPUTED: "the history recomputed is the document that is stored (G2, G9)",
    Law.COMMAND_ONCE: "the engine publishes a command once, and exactly those that the history names (G2, G3)",
    Law.TOLD_ONCE: "what one entity says to another arrives once (G2)",
    Law.EVENT_ONCE: "an event that a saga publishes goes out once (G2)",
    Law.ACT_ONCE: "an operator's act is applied once, however often it is sent",
    Law.EDITED: "the state is patched as an edit or a restart says; what does not fit changes nothing",
    Law.REPLACED: "an undo that an operator has replaced goes out as he gave it",
    Law.RESTARTED: "what a restart begins anew was undone before, once, and has effect keys of its own (G3, G5)",
    Law.FORKED: "a fork begins one instance; what it has taken over stands, and nobody does or undoes it (G1, G5)",
    Law.EFFECT_ONCE: "an effect key takes effect at most once, is undone at most once, and never after its undo (G3)",
    Law.DONE: "a step that is done took effect; one that was rejected did not (G3)",
    Law.COMPENSATED: "of a compensated instance, or a lost branch, every effect is undone, once (G5)",
    Law.IN_ORDER: "undos run in reverse order of completion, unless declared otherwise (G5)",
    Law.COMPLETED: "what is completed was gone through as it is declared",
    Law.TRAVELLED: "a completed slip was at every stop; one that is taken back leaves no effect, its end first (G5)",
    Law.PAST_PIVOT: "past the pivot nothing before it is under way, and nothing is taken back (G5)",
    Law.PAUSED: "a paused instance does nothing: it takes acts and heartbeats alone, and no timer of it fires",
    Law.WIDTH: "no more parts of a collection are under way than is declared",
    Law.LATE_REPLY: "only the first reply to the newest attempt is applied (G8)",
    Law.BLAMED: "no code is blamed but that which raised (G6)",
    Law.LOCKED: "a lock has one holder, an instance with all its places, and is handed on in order of arrival",
    Law.MAILED: "within its keep an event reaches one place of each instance that waits for it: the first to wait",
    Law.ROUTED: "an instance goes where the rules say, of the version that it names",
    Law.HANDED_ON: "a worker's position passes a command only when its answer is durable (G3)",
    Law.TIME: "a decision is dated by its owner's clock, whatever was written before it; a last change never goes back",
    Law.SLEPT: "a sleep lasts as long as it says (G7)",
    Law.NOT_EARLY: "no timer fires before its owner's clock says that it is due (G7)",
    Law.NOT_LATE: "when all is healed, timers fire when they are due, and none is left behind (G7)",
    Law.WAKES: "whatever lives has a timer, waits for another entity that has, or stands in attention (G4)",
    Law.LETS_GO: "nobody who has ended holds a lock or waits in a mailbox (G4)",
    Law.DEAD: "only what cannot be read, or can never be carried out, is a dead letter (G6)",
    Law.RUNS: "no process fails for another reason than its surroundings (G6)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A law that does not hold, and of what."""

    law: Law
    message: str

    def __str__(self) -> str:
        return f"{self.law}: {self.message}"


def breaches(found: Evidence) -> Iterator[Breach]:
    """The laws that do not hold of a run."""
    for law, check in LAWS.items():
        for message in check(found):
            yield Breach(law=law, message=message)


LAWS: Final[Mapping[Law, Callable[[Evidence], Iterator[str]]]] = {
    Law.ACCEPTED: accepted,
    Law.ONE_INSTANCE: one_instance,
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
    Law.BLAMED: blamed,
    Law.LOCKED: locked,
    Law.MAILED: mailed,
    Law.ROUTED: routed,
    Law.HANDED_ON: handed_on,
    Law.TIME: time,
    Law.SLEPT: slept,
    Law.NOT_EARLY: not_early,
    Law.NOT_LATE: not_late,
    Law.WAKES: wakes,
    Law.LETS_GO: lets_go,
    Law.DEAD: dead,
    Law.ENDS: ends,
}
"""Every law that is read off the record, what tells most first; ``runs`` is seen by who plays."""
