"""Mistakes in what operators mend by hand."""

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
)
