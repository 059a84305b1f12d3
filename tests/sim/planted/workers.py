"""Mistakes in the worker runtime and its inbox."""

from __future__ import annotations

from .mistake import Edit, Planted, slip

__all__ = ["WORKERS"]

WORKERS = (
    Planted(
        "forget effects in the inbox",
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
    slip(
        "undo on a stale view of the step",
        "workers/sqlite_inbox.py",
        "        if (found.forward is not None) is not effect.forward_seen:\n",
        "        if False:\n",
        "effect-once",
    ),
    slip(
        "answer before anything took effect",
        "workers/runtime.py",
        '                await self._apply(Wanted(work, sent, outgoing.value or b""))\n',
        "                self._append(work, outgoing, sent)\n",
        "done",
    ),
    slip(
        "keep the reply and drop the effect",
        "workers/sqlite_inbox.py",
        "        for sql, parameters in effect.statements:",
        "        for sql, parameters in ():  # type: ignore[var-annotated]",
        "done",
    ),
    slip(
        "commit positions of commands that are not finished",
        "workers/offsets.py",
        "        while marks and marks[0].finished:",
        "        while marks:",
        "handed-on",
    ),
    slip(
        "finish a command whose answer was not acknowledged",
        "workers/answers.py",
        "        except TransientError:\n            raise\n        except Exception:  # rejected",
        "        except TransientError:\n            pass\n        except Exception:  # rejected",
        "handed-on",
    ),
    slip(
        "treat an undo as a command",
        "orchestrator/codec/commands.py",
        '    return direction == "undo"',
        "    return False",
        "compensated",
        "done",
    ),
)
