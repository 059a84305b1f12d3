"""Mistakes that are planted one at a time, each as small as a slip of the hand; the simulation has to find every one.

A mistake is data: edits of source text, each of which must fit exactly once, and the laws of which one must break.
Code that has moved on makes its edit fail loudly: then the mistake is written anew. Nothing of ours is imported here:
whoever plants a mistake has to read this before anything is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PLANTED", "Edit", "Planted"]


@dataclass(frozen=True, slots=True)
class Edit:
    """In a file, below the root of the repository, one text instead of another."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Planted:
    """A mistake: what it is called, what it does to the source, and what must notice."""

    name: str
    edits: tuple[Edit, ...]
    laws: tuple[str, ...]


def _slip(name: str, file: str, old: str, new: str, *laws: str) -> Planted:
    return Planted(name, (Edit(file, old, new),), laws)


KERNEL = (
    _slip(
        "undo in order of completion",
        "orchestrator/kernel/undoing.py",
        "in sorted(ranked, reverse=True)]",
        "in sorted(ranked)]",
        "in-order",
    ),
    _slip(
        "undo only what is known to be done",
        "orchestrator/kernel/undoing.py",
        "_TO_UNDO = frozenset({StepStatus.DONE, StepStatus.FAILED})",
        "_TO_UNDO = frozenset({StepStatus.DONE})",
        "compensated",
    ),
    _slip(
        "undo while a command is in flight",
        "orchestrator/kernel/undoing.py",
        "_IN_FLIGHT = frozenset({StepStatus.SENT})",
        "_IN_FLIGHT: frozenset[StepStatus] = frozenset()",
        "compensated",
        "in-order",
    ),
    _slip(
        "call it compensated while an undo is open",
        "orchestrator/kernel/undoing.py",
        "    return not ahead\n",
        "    return True\n",
        "compensated",
    ),
    _slip(
        "begin all undos at once",
        "orchestrator/kernel/undoing.py",
        "all(_apart(run, place, other) for other in ahead)",
        "True",
        "in-order",
    ),
    _slip(
        "leave a failed undo when the instance is turned",
        "orchestrator/kernel/undoing.py",
        "_TO_BEGIN = _TO_UNDO | {StepStatus.UNDO_FAILED}",
        "_TO_BEGIN = _TO_UNDO",
        "ends",
        "wakes",
        "compensated",
    ),
    _slip(
        "forget to tell the mailbox of a wait that is dropped",
        "orchestrator/kernel/undoing.py",
        "            drop_wait(run, place)\n",
        "            run.clear_timers(place)\n",
        "lets-go",
    ),
    _slip(
        "forget the lock that was waited for",
        "orchestrator/kernel/undoing.py",
        "            run.clear_timers(place)\n            release_one(run, place)\n",
        "            run.clear_timers(place)\n            run.remember(place, {})\n",
        "lets-go",
    ),
    _slip(
        "forget that a step was refused",
        "orchestrator/kernel/replies.py",
        "        fail(run, leg.step, CauseKind.REFUSED, reply.reason, code=reply.code)",
        "        pass",
        "ends",
        "wakes",
    ),
    _slip(
        "take the reply of any attempt",
        "orchestrator/kernel/replies.py",
        "    if waits and reply.command_id == command_id(instance, head, undo=undo, attempt=attempt):",
        "    if waits:",
        "late-reply",
    ),
    _slip(
        "let a retry pass that is due",
        "orchestrator/kernel/replies.py",
        "                send(run, leg, fresh=False)",
        "                pass",
        "wakes",
    ),
    _slip(
        "send without a deadline",
        "orchestrator/kernel/sending.py",
        "    run.timers[deadline] = deadline_ms\n",
        "    run.timers.setdefault(f'{leg.step}:never', deadline_ms)\n",
        "wakes",
        "blamed",
    ),
    _slip(
        "forget the timer of a retry",
        "orchestrator/kernel/sending.py",
        '    run.timers[f"{leg.step}:retry"] = run.now_ms + delay_ms - spread_ms\n',
        "",
        "wakes",
    ),
    _slip(
        "count no attempts",
        "orchestrator/kernel/run.py",
        "attempt = 1 + (record.undo_attempt if undo else record.attempt)",
        "attempt = 1",
        "command-once",
    ),
    _slip(
        "end without a farewell",
        "orchestrator/kernel/run.py",
        "for message in farewell(self.document, self.steps, status, self.state, self.cause):",
        "for message in ():",
        "ends",
        "lets-go",
    ),
    _slip(
        "skip a revision",
        "orchestrator/kernel/run.py",
        "            revision=old.revision + 1,",
        "            revision=old.revision + 2,",
        "revisions",
    ),
    _slip(
        "give two messages one id",
        "orchestrator/kernel/run.py",
        '    return f"{document.id}/~{document.revision + 1}.{number}"',
        '    return f"{document.id}/~{document.revision + 1}"',
        "told-once",
    ),
    _slip(
        "forget who was done after whom",
        "orchestrator/kernel/run.py",
        "order = 1 + max((other.order or 0 for other in self.steps.values()), default=0)",
        "order = 1",
        "in-order",
    ),
    _slip(
        "forget the state beside the reply",
        "orchestrator/kernel/run.py",
        "self.state = {**self.state, field: value}",
        "self.state = {field: value}",
        "blamed",
    ),
    _slip(
        "send while paused",
        "orchestrator/kernel/run.py",
        "return self.paused or self.status in _STANDS",
        "return self.status in _STANDS",
        "paused",
    ),
    _slip(
        "pass the pivot while something before it is under way",
        "orchestrator/kernel/walk.py",
        "if any(record.status in LIVE for record in run.steps.values()):",
        "if False:",
        "past-pivot",
    ),
    _slip(
        "join a parallel with the first branch",
        "orchestrator/kernel/walk.py",
        "    if done < node.options.need:\n",
        "    if done < 1:\n",
        "completed",
    ),
    _slip(
        "never be done with an emit",
        "orchestrator/kernel/walk.py",
        "    run.mark(place, StepStatus.DONE)\n    run.tell(published)\n",
        "    run.tell(published)\n",
        "ends",
        "wakes",
    ),
    _slip(
        "wait for a scatter without a deadline",
        "orchestrator/kernel/branching.py",
        '    run.timers[f"{place}:deadline"] = run.now_ms + to_ms(node.options.deadline)\n',
        "",
        "ends",
        "wakes",
    ),
    _slip(
        "go more rounds than a loop may",
        "orchestrator/kernel/branching.py",
        '    elif rounds >= int(str(memo["most"])):',
        '    elif rounds > int(str(memo["most"])):',
        "completed",
    ),
    _slip(
        "take too few answers for enough",
        "orchestrator/kernel/branching.py",
        "    if len(there) < options.at_least:",
        "    if not there:",
        "completed",
    ),
    _slip(
        "begin all parts at once",
        "orchestrator/kernel/children.py",
        'range(first, _int(memo["count"]))][:room]',
        'range(first, _int(memo["count"]))]',
        "width",
    ),
    _slip(
        "tolerate one failed part too many",
        "orchestrator/kernel/children.py",
        "        if len(failed) > node.options.tolerate:",
        "        if len(failed) > node.options.tolerate + 1:",
        "completed",
    ),
    _slip(
        "call a child undone without asking it",
        "orchestrator/kernel/children.py",
        "        _unwind_one(run, place, reason, attempt=run.steps[place].attempt)\n        return\n",
        "        run.mark(place, StepStatus.UNDONE)\n        return\n",
        "compensated",
    ),
    _slip(
        "leave the first part as it is",
        "orchestrator/kernel/children.py",
        "        if left == 0 or len(under_way)",
        "        if left <= 1 or len(under_way)",
        "compensated",
    ),
    _slip(
        "undo the first attempt of a part that was begun again",
        "orchestrator/kernel/children.py",
        "    _unwind_one(run, place, reason, index, _attempt(run, place, index))\n\n\ndef _undo_more",
        "    _unwind_one(run, place, reason, index)\n\n\ndef _undo_more",
        "compensated",
    ),
    _slip(
        "sleep half as long",
        "orchestrator/kernel/waiting.py",
        'run.timers[f"{place}:due"] = run.now_ms + to_ms(span)',
        'run.timers[f"{place}:due"] = run.now_ms + to_ms(span) // 2',
        "slept",
    ),
    _slip(
        "take the default route whatever the table says",
        "orchestrator/kernel/waiting.py",
        "    to = message.to if message.to is not None else node.otherwise\n",
        "    to = node.otherwise\n",
        "routed",
    ),
    _slip(
        "wait for an event for ever",
        "orchestrator/kernel/waiting.py",
        '    run.timers[f"{place}:deadline"] = run.now_ms + to_ms(node.options.timeout)\n',
        "",
        "ends",
        "wakes",
    ),
    _slip(
        "go on with the first of several events",
        "orchestrator/kernel/waiting.py",
        '    if node.options.need == "any" or len(got) == len(node.expected):',
        "    if got:",
        "completed",
    ),
    _slip(
        "keep no early event",
        "orchestrator/kernel/mailbox.py",
        "kept=(*kept, event)",
        "kept=kept",
        "mailed",
    ),
    _slip(
        "take an event twice that was sent twice",
        "orchestrator/kernel/mailbox.py",
        "    if any(event.id == message.id for event in box.kept):",
        "    if False:",
        "mailed",
    ),
    _slip(
        "bring an event to the first who waits only",
        "orchestrator/kernel/mailbox.py",
        "in enumerate((*box.watchers, *always), start=1)",
        "in enumerate((*box.watchers[:1], *always), start=1)",
        "mailed",
    ),
    _slip(
        "grant a lock that is held",
        "orchestrator/kernel/lock.py",
        "    if lock.holder is None or lock.holder.by == message.by:",
        "    if True:",
        "locked",
    ),
    _slip(
        "hand a lock on to who came last",
        "orchestrator/kernel/lock.py",
        "    holder, left_waiting = waiting[0], waiting[1:]",
        "    holder, left_waiting = waiting[-1], waiting[:-1]",
        "locked",
    ),
    _slip(
        "ask a table by its first rule only",
        "orchestrator/kernel/table.py",
        "(rule.to for rule in table.rules if",
        "(rule.to for rule in table.rules[:1] if",
        "routed",
    ),
    _slip(
        "act twice on an act that was sent twice",
        "orchestrator/kernel/decide.py",
        "    if act.id in document.requests:",
        "    if False:",
        "act-once",
    ),
    _slip(
        "cancel past the pivot",
        "orchestrator/kernel/acts.py",
        "        case ActName.CANCEL if document.pivot_passed:",
        "        case ActName.CANCEL if False:",
        "past-pivot",
    ),
    _slip(
        "begin an instance again that has ended",
        "orchestrator/kernel/decide.py",
        "        if document is not None:\n            return _started_again(document, start, digest)",
        "        if document is not None and not document.status.is_final:\n"
        "            return _started_again(document, start, digest)",
        "one-instance",
    ),
    _slip(
        "keep a timer that has fired",
        "orchestrator/kernel/decide.py",
        "        del run.timers[timer.timer]\n",
        "",
        "decided-once",
        "ends",
        "runs",
    ),
    _slip(
        "go on without what came while the code was away",
        "orchestrator/kernel/parking.py",
        "    waiting, run.deferred = run.deferred, ()\n",
        "    waiting, run.deferred = (), ()  # type: ignore[var-annotated]\n",
        "wakes",
        "ends",
        "not-late",
    ),
    _slip(
        "give a process manager an event twice",
        "orchestrator/kernel/managing.py",
        "    known = message.event_id in managed.seen or any(",
        "    known = any(",
        "mailed",
    ),
)

RUNTIME = (
    _slip(
        "drop what one entity tells another",
        "orchestrator/runtime/deciding.py",
        "                case Tell(message=message):\n",
        '                case Tell(message=message) if message.kind == "granted":\n'
        "                    pass\n"
        "                case Tell(message=message):\n",
        "mailed",
        "locked",
        "lets-go",
    ),
    _slip(
        "decide about a record of another partition",
        "orchestrator/runtime/deciding.py",
        "            if record.key and partition_of(record.key, self._setup.partitions) != self._owner.partition:",
        "            if False:",
        "at-home",
    ),
    _slip(
        "lose a record of another partition",
        "orchestrator/runtime/deciding.py",
        "        self._appends.append(Outgoing(record.topic, record.key, record.value, record.headers))\n",
        "",
        "accepted",
        "one-instance",
        "ends",
    ),
    _slip(
        "stand still at a record that was decided about",
        "orchestrator/runtime/deciding.py",
        "            self._offset = record.offset + 1\n",
        "            self._offset = record.offset\n",
        "decided-once",
        "runs",
    ),
    _slip(
        "decide without the batch whose commit is under way",
        "orchestrator/runtime/deciding.py",
        "        if instance in self._below:\n            return self._below[instance]\n",
        "",
        "revisions",
    ),
    _slip(
        "decide without what the same batch has decided",
        "orchestrator/runtime/deciding.py",
        "        if instance in self.changed:\n            return self.changed[instance]\n",
        "",
        "revisions",
    ),
    _slip(
        "commit a decision without what it sends",
        "orchestrator/runtime/deciding.py",
        "        self._appends += outgoing\n",
        "",
        "command-once",
    ),
    _slip(
        "swallow what cannot be read",
        "orchestrator/runtime/deciding.py",
        "                self._dead(record, str(error))\n                continue\n",
        "                continue\n",
        "dead",
    ),
    _slip(
        "forget the timers of what was just decided",
        "orchestrator/runtime/processor.py",
        "            self._timers.replace(instance, document.timers if document else {})\n",
        "            pass\n",
        "ends",
        "not-late",
    ),
    _slip(
        "forget the timers when a partition is taken",
        "orchestrator/runtime/processor.py",
        "            self._timers.replace(document.id, document.timers)\n",
        "",
        "ends",
        "not-late",
    ),
    _slip(
        "leave what waited for code that is here now",
        "orchestrator/runtime/processor.py",
        "isinstance(document, Document) and self._waited_for_us(document)",
        "False",
        "ends",
    ),
    _slip(
        "hand timers out half a second early",
        "orchestrator/runtime/timers.py",
        "self._heap[0].due_ms > now_ms:",
        "self._heap[0].due_ms > now_ms + 500:",
        "ends",
        "not-late",
    ),
    _slip(
        "decide ahead of the clock",
        "orchestrator/runtime/processor.py",
        "            work.tell(self._clock.now_ms())\n            own",
        "            work.tell(self._clock.now_ms() + 500)\n            own",
        "not-early",
    ),
    _slip(
        "let the time of decisions go back",
        "orchestrator/runtime/deciding.py",
        "        self._now_ms = max(self._now_ms, now_ms)\n",
        "        self._now_ms = now_ms\n",
        "time",
    ),
    _slip(
        "store documents without their timers",
        "orchestrator/codec/documents.py",
        "    return _DOCUMENT.dump_json(document)\n",
        '    return _DOCUMENT.dump_json(document, exclude={"timers"})\n',
        "recomputed",
    ),
    _slip(
        "store documents without the acts that are done",
        "orchestrator/codec/documents.py",
        "    return _DOCUMENT.dump_json(document)\n",
        '    return _DOCUMENT.dump_json(document, exclude={"requests"})\n',
        "recomputed",
    ),
)

WORKERS = (
    Planted(
        "forget in the inbox what took effect",
        (
            Edit(
                "workers/sqlite_inbox.py",
                "    found = _find(connection, [effect.effect_key]).get(effect.effect_key, Found())\n",
                "    found = Found()\n",
            ),
            Edit(
                "workers/sqlite_inbox.py",
                '"INSERT INTO sagaline_inbox VALUES',
                '"INSERT OR REPLACE INTO sagaline_inbox VALUES',
            ),
        ),
        ("effect-once",),
    ),
    Planted(
        "let a command through after its undo",
        (
            Edit(
                "workers/sqlite_inbox.py",
                "    elif found.undo is not None:\n        return Applied(Verdict.FENCED)\n",
                "",
            ),
            Edit(
                "workers/effects.py",
                "            if work.found.undo is not None and not work.command.undo:",
                "            if False:",
            ),
        ),
        ("effect-once",),
    ),
    _slip(
        "undo on an old knowledge of what was done",
        "workers/sqlite_inbox.py",
        "        if (found.forward is not None) is not effect.forward_seen:\n",
        "        if False:\n",
        "effect-once",
    ),
    _slip(
        "answer before anything took effect",
        "workers/runtime.py",
        '                self._applies.put(Wanted(work, sent, outgoing.value or b""))\n',
        "                self._append(work, outgoing, sent)\n",
        "done",
    ),
    _slip(
        "keep the reply and drop the effect",
        "workers/sqlite_inbox.py",
        "        for sql, parameters in effect.statements:",
        "        for sql, parameters in ():  # type: ignore[var-annotated]",
        "done",
    ),
    _slip(
        "commit positions of commands that are not finished",
        "workers/offsets.py",
        "        while marks and marks[0].finished:",
        "        while marks:",
        "handed-on",
    ),
    _slip(
        "finish a command whose answer was not acknowledged",
        "workers/answers.py",
        "        except TransientError:\n            raise\n        except Exception:  # refused",
        "        except TransientError:\n            pass\n        except Exception:  # refused",
        "handed-on",
    ),
    _slip(
        "take an undo for a command",
        "orchestrator/codec/commands.py",
        '    return direction == "undo"',
        "    return False",
        "compensated",
        "done",
    ),
)

ADAPTER = (
    _slip(
        "commit without a fence",
        "orchestrator/testing/broker.py",
        "        if self._epochs.get(place) != epoch:",
        "        if False:",
        "decided-once",
        "revisions",
        "command-once",
    ),
    _slip(
        "take a partition before its last transaction is settled",
        "orchestrator/testing/broker.py",
        "        self._settle(place)\n        epoch =",
        "        epoch =",
        "decided-once",
        "revisions",
        "command-once",
    ),
    _slip(
        "restore the position before the last",
        "orchestrator/testing/memory_owner.py",
        '        position = Position(int(value["offset"]), int(value["now_ms"]))',
        '        position = Position(max(0, int(value["offset"]) - 2), int(value["now_ms"]))',
        "decided-once",
    ),
    _slip(
        "commit around a send that was not acknowledged",
        "orchestrator/testing/memory_owner.py",
        "*self._broker.route(batch.appends)]",
        "*self._broker.route(batch.appends)[:-1]]",
        "accepted",
        "revisions",
        "one-instance",
    ),
    _slip(
        "read what is not decided yet",
        "orchestrator/testing/partition.py",
        "        return min(self._held.values()) if self._held else self.end\n",
        "        return self.end\n",
        "effect-once",
        "revisions",
        "decided-once",
    ),
    _slip(
        "restore without the last document",
        "orchestrator/testing/memory_owner.py",
        "    for record in state.read(0, len(state.records)):",
        "    for record in state.read(0, len(state.records))[-12:]:",
        "ends",
        "one-instance",
        "revisions",
        "runs",
    ),
)

PLANTED = (*KERNEL, *RUNTIME, *WORKERS, *ADAPTER)
