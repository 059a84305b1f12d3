"""Mistakes in the engine and the codec: how decisions become records."""

from __future__ import annotations

from .mistake import slip

__all__ = ["RUNTIME"]

RUNTIME = (
    slip(
        "drop what one entity tells another",
        "orchestrator/runtime/writes.py",
        "            if not isinstance(action, DeadLetter):\n",
        '            if isinstance(action, Tell) and action.message.kind == "granted":\n'
        "                pass\n"
        "            elif not isinstance(action, DeadLetter):\n",
        "mailed",
        "locked",
        "lets-go",
    ),
    slip(
        "decide about a record of another partition",
        "orchestrator/runtime/guard.py",
        "            if record.key and partition_of(record.key, self._setup.partitions) != self._partition:",
        "            if False:",
        "at-home",
    ),
    slip(
        "lose a record of another partition",
        "orchestrator/runtime/writes.py",
        "        return Writes(appends=[self._fitting(forwarded)], counts",
        "        return Writes(counts",
        "accepted",
        "one-instance",
        "ends",
    ),
    slip(
        "stand still at a record that was decided about",
        "orchestrator/runtime/deciding.py",
        "            self._offset = record.offset + 1\n",
        "            self._offset = record.offset\n",
        "decided-once",
        "runs",
    ),
    slip(
        "decide without the batch whose commit is under way",
        "orchestrator/runtime/deciding.py",
        "    for overlay in (changed, below):\n",
        "    for overlay in (changed,):\n",
        "revisions",
        "decided-once",
    ),
    slip(
        "decide without what the same batch has decided",
        "orchestrator/runtime/deciding.py",
        "    for overlay in (changed, below):\n",
        "    for overlay in (below,):\n",
        "revisions",
        "one-instance",
    ),
    slip(
        "commit a decision without what it sends",
        "orchestrator/runtime/deciding.py",
        "        self._appends += writes.appends\n",
        '        self._appends += [out for out in writes.appends if ".commands." not in out.topic]\n',
        "command-once",
    ),
    slip(
        "swallow what cannot be read",
        "orchestrator/runtime/guard.py",
        "            return self._writer.dead(record, str(error))\n",
        "            return Writes()\n",
        "dead",
    ),
    slip(
        "forget the timers of what was just decided",
        "orchestrator/runtime/processor.py",
        "            self._timers.replace(key, document.timers if document else {})\n",
        "            pass\n",
        "ends",
        "not-late",
    ),
    slip(
        "forget the timers when a partition is taken",
        "orchestrator/runtime/processor.py",
        "            self._timers.replace(key, timers_of(key, value))\n",
        "            pass\n",
        "ends",
        "not-late",
    ),
    slip(
        "leave what waited for code that is here now",
        "orchestrator/runtime/processor.py",
        "        if self._waited_for_us(document):\n            act",
        "        if False:\n            act",
        "ends",
    ),
    slip(
        "hand timers out half a second early",
        "orchestrator/runtime/timers.py",
        "self._heap[0].due_ms > now_ms:",
        "self._heap[0].due_ms > now_ms + 500:",
        "decided-once",
        "ends",
        "not-late",
        "not-early",
    ),
    slip(
        "decide ahead of the clock",
        "orchestrator/runtime/processor.py",
        "            work.tell(self._clock.now_ms())\n            own",
        "            work.tell(self._clock.now_ms() + 500)\n            own",
        "not-early",
    ),
    slip(
        "let the time of decisions never go back",
        "orchestrator/runtime/deciding.py",
        "        self._now_ms = now_ms\n",
        "        self._now_ms = max(self._now_ms, now_ms)\n",
        "time",
        "not-late",
        "ends",
    ),
    slip(
        "let the last change of an instance go back",
        "orchestrator/messages/document.py",
        "        return max(self.updated_ms, now_ms)\n",
        "        return now_ms\n",
        "time",
    ),
    slip(
        "store documents without their timers",
        "orchestrator/codec/documents.py",
        "    return sound(_DOCUMENT.dump_json(document))\n",
        '    return _DOCUMENT.dump_json(document, exclude={"timers"})\n',
        "recomputed",
    ),
    slip(
        "store documents without the acts that are done",
        "orchestrator/codec/documents.py",
        "    return sound(_DOCUMENT.dump_json(document))\n",
        '    return _DOCUMENT.dump_json(document, exclude={"requests"})\n',
        "recomputed",
    ),
)
