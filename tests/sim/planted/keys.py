"""Mistakes in the runs of one key, in what is archived of them, in deleted schedules and in redriven letters."""

from __future__ import annotations

from .mistake import Planted, slip

__all__ = ["KEYS"]

KEYS: tuple[Planted, ...] = (
    slip(
        "forget the starts behind the one that begins",
        "orchestrator/kernel/runs.py",
        "        queued=document.queued[len(passed) :],\n",
        "        queued=(),\n",
        "queued",
    ),
    slip(
        "begin a start that was taken before",
        "orchestrator/kernel/runs.py",
        "    return start.id == document.started_by or any(each.id == start.id for each in document.requests)\n",
        "    return False\n",
        "queued",
    ),
    slip(
        "replace a run without ending it",
        "orchestrator/kernel/runs.py",
        "    if not fulfilled(document, ActName.CANCEL):\n",
        "    if False:\n",
        "queued",
    ),
    slip(
        "begin the next run before the one that waits",
        "orchestrator/kernel/runs.py",
        "    return not document.queued or document.queued[0].id == message.id\n",
        "    return True\n",
        "queued",
    ),
    slip(
        "archive no run that another one follows",
        "orchestrator/kernel/runs.py",
        "(after is not None and after.incarnation == before.incarnation)",
        "after is not None",
        "archived",
    ),
    slip(
        "archive what is not to be archived",
        "orchestrator/kernel/decide.py",
        "    if last is None or not last.archive:\n",
        "    if last is None:\n",
        "archived",
    ),
    slip(
        "forget the requests of a deleted schedule",
        "orchestrator/kernel/schedule.py",
        "                requests=asked.requests,\n",
        "                requests=(),\n",
        "scheduled",
    ),
    slip(
        "let a deleted schedule go on",
        "orchestrator/kernel/schedule.py",
        "Answer(entity=mark, outcome",
        "Answer(entity=replace(asked, revision=schedule.revision + 1), outcome",
        "scheduled",
    ),
    slip(
        "redrive a dead letter again",
        "orchestrator/kernel/dead.py",
        "    if mark.status is DeadStatus.REDRIVEN and act is DeadAct.REDRIVE:\n",
        "    if False:\n",
        "redriven",
    ),
    slip(
        "redrive a dead letter as it was before its edit",
        "orchestrator/kernel/dead.py",
        "            letter = after.edited or message.letter\n            if letter is None:\n                return",
        "            letter = message.letter\n            if letter is None:\n                return",
        "redriven",
    ),
)
