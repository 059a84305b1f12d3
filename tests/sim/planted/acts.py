"""Mistakes in what operators mend by hand: edits, other undos, restarts."""

from __future__ import annotations

from .mistake import slip

__all__ = ["ACTS"]

ACTS = (
    slip(
        "apply half a patch",
        "orchestrator/kernel/editing.py",
        '            return f"{where}: {run.shortened(str(error))}"\n',
        "            break\n",
        "edited",
    ),
    slip(
        "forget what an operator gave for an undo",
        "orchestrator/kernel/sending.py",
        "run.memo(place).get(INSTEAD) if undo else None",
        "None",
        "replaced",
    ),
    slip(
        "restart without undoing",
        "orchestrator/kernel/restarting.py",
        "    if not unwind(run, back) or run.stopped:\n",
        "    if run.stopped:\n",
        "restarted",
    ),
    slip(
        "restart under the old effect keys",
        "orchestrator/kernel/restarting.py",
        "    run.restarts += 1\n",
        "",
        "restarted",
        "command-once",
    ),
    slip(
        "restart what nothing takes back",
        "orchestrator/kernel/restarting.py",
        "    if standing:\n",
        "    if False:\n",
        "restarted",
    ),
    slip(
        "forget the patch of a restart",
        "orchestrator/kernel/restarting.py",
        "    if start.patch is not None:\n",
        "    if False:\n",
        "edited",
    ),
)
