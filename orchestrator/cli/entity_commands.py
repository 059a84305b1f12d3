"""The commands and options of entities: ``rules``, ``locks``, ``mailboxes``; see ``app.py``."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import By, Reading, Remote, command

__all__ = ["add_entity_commands"]

rules_app = typer.Typer(help="Show or change the tables of dynamic routers.", no_args_is_help=True)

Rules = Annotated[str, typer.Argument(metavar="TABLE", help="Name of the table, as in the flow's router.")]
Waiting = Annotated[bool, typer.Option("--waiting", help="Only those that have waiters.")]


@command(rules_app, "list")
def rules_list(*, remote: Remote, reading: Reading) -> None:
    """List the tables that deployed definitions route by."""
    from .rules import list_rules

    list_rules(remote, as_json=reading.as_json)


@command(rules_app, "show")
def rules_show(*, table: Rules, remote: Remote, reading: Reading) -> None:
    """Show the rules of a table, its version, and who changed it last."""
    from .rules import show_rules

    show_rules(remote, table, as_json=reading.as_json)


@command(rules_app, "set")
def rules_set(
    *,
    table: Rules,
    file: Annotated[str, typer.Option(metavar="FILE|-", help="JSON: a list of rules, or the output of `show --json`.")],
    remote: Remote,
    reading: Reading,
    version: Annotated[
        int | None, typer.Option(min=0, help="The version to replace; default the file's, or any.")
    ] = None,
    reason: Annotated[str, typer.Option(help="The reason; kept in the history.")] = "",
    by: By = None,
) -> None:
    """Replace the rules of a table. Instances that were routed before keep their branch."""
    from .rules import set_rules

    set_rules(remote, table, file=file, version=version, reason=reason, by=by, as_json=reading.as_json)


@command(rules_app, "history")
def rules_history_command(
    *,
    table: Rules,
    remote: Remote,
    reading: Reading,
    limit: Annotated[
        int, typer.Option(min=1, max=100_000, help="The largest number of entries, oldest first.")
    ] = 1_000,
) -> None:
    """Show who changed a table, when and why, and which changes were denied."""
    from .rules import rules_history

    rules_history(remote, table, limit=limit, as_json=reading.as_json)


def add_entity_commands(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(rules_app, name="rules")

    @command(app, "locks")
    def locks_command(
        *,
        name: Annotated[str | None, typer.Argument(metavar="LOCK", help="Only this lock, by its full name.")] = None,
        remote: Remote,
        reading: Reading,
        prefix: Annotated[str, typer.Option(help="Only names that start with this.")] = "",
        waiting: Waiting = False,
        limit: Annotated[int, typer.Option(min=1, max=100_000, help="The largest number of entries.")] = 200,
    ) -> None:
        """List semantic locks: who holds them, since when, and who waits for them."""
        from .entities import list_locks, show_lock

        if name is not None:
            show_lock(remote, name, as_json=reading.as_json)
        else:
            list_locks(remote, prefix, waiting=waiting, limit=limit, as_json=reading.as_json)

    @command(app, "mailboxes")
    def mailboxes_command(
        *,
        event: Annotated[str | None, typer.Argument(metavar="EVENT", help="Only of this event.")] = None,
        key: Annotated[
            str | None, typer.Argument(metavar="KEY", help="Show the mailbox of this key with its events.")
        ] = None,
        remote: Remote,
        reading: Reading,
        waiting: Waiting = False,
        limit: Annotated[int, typer.Option(min=1, max=100_000, help="The largest number of entries.")] = 200,
    ) -> None:
        """List mailboxes: who waits for which event, and which events are kept."""
        from .entities import list_mailboxes, show_mailbox

        if event is not None and key is not None:
            show_mailbox(remote, event, key, as_json=reading.as_json)
        else:
            list_mailboxes(remote, event, waiting=waiting, limit=limit, as_json=reading.as_json)
