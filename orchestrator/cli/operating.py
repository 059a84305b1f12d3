"""The commands edit, replace-undo, restart and fork, and bulk: any act on many instances."""

from __future__ import annotations

from typing import Annotated

import typer

from ..messages.inputs import ActName
from .acts import Acting, act
from .options import Asking, Many, Reading, Remote, command
from .starting import read_input, read_patch

__all__ = ["add_operating"]

Instance = Annotated[str, typer.Argument(metavar="INSTANCE", help="definition/key, as `saga list` shows it.")]
Step = Annotated[str, typer.Argument(metavar="STEP", help="Name of the step, as `saga show` shows it.")]
PatchOption = Annotated[
    str | None, typer.Option("--patch", metavar="JSON|@FILE|-", help="A JSON Patch (RFC 6902) of the state.")
]


def add_operating(app: typer.Typer) -> None:
    """Adds the commands."""
    _add_edit(app)
    _add_replace_undo(app)
    _add_restart(app)
    _add_fork(app)
    _add_bulk(app)


def _add_edit(app: typer.Typer) -> None:
    @command(app, "edit")
    def edit_command(
        *,
        instance: Instance,
        patch: Annotated[str, typer.Option("--patch", metavar="JSON|@FILE|-", help="A JSON Patch (RFC 6902).")],
        remote: Remote,
        reading: Reading,
        retry: Annotated[bool, typer.Option("--retry", help="When it is in attention: retry at once.")] = False,
        acting: Acting,
    ) -> None:
        """Patch the state of an instance; a patch whose result does not fit the model is denied and changes nothing."""
        more = {"value": {"patch": read_patch(patch), **({"retry": True} if retry else {})}}
        act(remote, instance, ActName.EDIT, acting, as_json=reading.as_json, more=more)


def _add_replace_undo(app: typer.Typer) -> None:
    @command(app, "replace-undo")
    def replace_undo_command(
        *,
        instance: Instance,
        step: Step,
        command: Annotated[str, typer.Option("--command", metavar="JSON|@FILE|-", help="The command to send instead.")],
        remote: Remote,
        reading: Reading,
        contract: Annotated[str | None, typer.Option(help="Another contract of the definition.")] = None,
        acting: Acting,
    ) -> None:
        """Retry a failed undo with another command, under the same effect key."""
        value = {"command": read_input(command, "--command"), **({"contract": contract} if contract else {})}
        more = {"step": step, "value": value}
        act(remote, instance, ActName.REPLACE_UNDO, acting, as_json=reading.as_json, more=more)


def _add_restart(app: typer.Typer) -> None:
    @command(app, "restart")
    def restart_command(
        *,
        instance: Instance,
        step: Step,
        remote: Remote,
        reading: Reading,
        patch: PatchOption = None,
        acting: Acting,
    ) -> None:
        """Undo the steps from a step on, then run them again; only in attention."""
        more = {"step": step, "value": {"patch": read_patch(patch)} if patch is not None else None}
        act(remote, instance, ActName.RESTART, acting, as_json=reading.as_json, more=more)


def _add_fork(app: typer.Typer) -> None:
    @command(app, "fork")
    def fork_command(
        *,
        instance: Instance,
        step: Step,
        key: Annotated[str, typer.Option(help="Business key of the new instance.")],
        remote: Remote,
        reading: Reading,
        patch: PatchOption = None,
        acting: Acting,
    ) -> None:
        """Start another instance at a step of this one, with its current state, or patched."""
        value = {"key": key, **({"patch": read_patch(patch)} if patch is not None else {})}
        more = {"step": step, "value": value}
        act(remote, instance, ActName.FORK, acting, as_json=reading.as_json, more=more)


def _add_bulk(app: typer.Typer) -> None:
    @command(app, "bulk")
    def bulk_command(
        *,
        name: Annotated[ActName, typer.Argument(metavar="ACT", help="Any act except fork.")],
        many: Many,
        asking: Asking,
        remote: Remote,
        reading: Reading,
        apply: Annotated[bool, typer.Option("--apply", help="Send the act; without this it is a dry run.")] = False,
        id: Annotated[
            str | None, typer.Option(help="Continue the bulk with this id; no instance gets the act twice.")
        ] = None,
    ) -> None:
        """Send an act to many instances. Without --apply it is a dry run: it shows the expected results."""
        from .bulk import INSTANCES, bulk_body, run_bulk

        body = {**bulk_body(remote, name, many, asking), "id": id}
        run_bulk(remote, INSTANCES, body, apply=apply, as_json=reading.as_json)
