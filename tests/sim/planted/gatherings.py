"""Mistakes in aggregators, in resequencers, and in what becomes of late events."""

from __future__ import annotations

from .mistake import Planted, slip

__all__ = ["GATHERINGS"]

GATHERINGS: tuple[Planted, ...] = (
    slip(
        "add a part that was added before",
        "sagas/aggregator.py",
        "                if before.has(part):\n",
        "                if False:\n",
        "gathered",
    ),
    slip(
        "publish no result at the timeout of a gathering",
        "sagas/aggregator.py",
        "            return Next.complete(gathered, emit=[announce])\n",
        "            return Next.complete(gathered)\n",
        "gathered",
    ),
    slip(
        "publish a number again",
        "sagas/resequencer.py",
        "                if found == s.next:\n",
        "                if found <= s.next:\n",
        "sorted",
    ),
    slip(
        "wait for no number that is missing",
        "sagas/resequencer.py",
        "                if phase == _SKIPPING:\n",
        "                if True:\n",
        "sorted",
    ),
    slip(
        "ignore late events that are to be dead letters",
        "orchestrator/kernel/runs.py",
        '        case "ignore":\n            return None\n        case "dead_letter":\n',
        '        case "ignore" | "dead_letter":\n            return None\n        case "dead":\n',
        "late",
    ),
    slip(
        "begin the next run by no event",
        "orchestrator/kernel/runs.py",
        "    if not _starts(manager, message):\n",
        "    if True:\n",
        "late",
    ),
    slip(
        "begin the revisions of the next run anew",
        "orchestrator/kernel/runs.py",
        "        revision=document.revision,\n        updated_ms=document.touched_ms(fresh.updated_ms),\n",
        "        updated_ms=document.touched_ms(fresh.updated_ms),\n",
        "revisions",
    ),
)
