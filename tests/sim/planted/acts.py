"""Mistakes in what operators mend by hand: edits, other undos, restarts and forks."""

from __future__ import annotations

from .mistake import Edit, Planted, slip

__all__ = ["ACTS"]

ACTS = (
    slip(
        "apply half a patch",
        "orchestrator/kernel/editing.py",
        '            return invalid(f"{where}: {ctx.shortened(str(error))}")\n',
        "            break\n",
        "edited",
    ),
    slip(
        "forget the command that an operator gave for an undo",
        "orchestrator/kernel/sending.py",
        "ctx.memo(place).get(INSTEAD) if undo else None",
        "None",
        "replaced",
    ),
    slip(
        "restart without undoing",
        "orchestrator/kernel/restarting.py",
        "    if not unwind(ctx, back) or ctx.stopped:\n",
        "    if ctx.stopped:\n",
        "restarted",
    ),
    slip(
        "restart under the old effect keys",
        "orchestrator/kernel/restarting.py",
        "    ctx.restarts += 1\n",
        "",
        "restarted",
        "command-once",
    ),
    slip(
        "restart steps that have no undo",
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
    slip(
        "restart steps that a fork has taken over",
        "orchestrator/kernel/restarting.py",
        "    if (origin := done_by(definition, place, record)) is not None:\n",
        '    if (origin := done_by(definition, place, record)) == "":\n',
        "forked",
    ),
    Planted(
        "undo steps that a fork has taken over",
        (
            Edit(
                "orchestrator/kernel/forking.py",
                "    return {name: value for",
                '    return {"undo": record.undo} | {name: value for',
            ),
            Edit(
                "orchestrator/kernel/forking.py",
                "            at_ms=now_ms,\n",
                '            at_ms=now_ms,\n            undo=memory["undo"],\n',
            ),
        ),
        ("forked",),
    ),
    slip(
        "fork an instance that may still be compensated",
        "orchestrator/kernel/forking.py",
        "    if undoable and _may_turn(document):\n",
        "    if False:\n",
        "forked",
    ),
    slip(
        "start a fork at the beginning of the flow",
        "orchestrator/kernel/forking.py",
        "taken={place: Taken(kind=record.kind, memo=_memory(record)) for place, record in before}",
        "taken={}",
        "forked",
    ),
)
