"""``saga personal``: erase the personal data of a subject, and seal its keys anew."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from .options import Reading, Remote, Signed, command
from .remote import Json, request
from .users import signature

__all__ = ["add_personal_commands"]

personal_app = typer.Typer(help="Personal data: erase those of a person.")

Subject = Annotated[str, typer.Argument(metavar="SUBJECT", help="The id of the person, as the models say it.")]


@command(personal_app, "erase")
def personal_erase(*, subject: Subject, remote: Remote, reading: Reading, signed: Signed) -> None:
    """Erase the personal data of a subject, for ever: no copy of them can be opened any more."""
    body: Json = {"subject": subject, **signature(remote, signed)}
    done = request(remote, "POST", "/v1/personal/erase", body=body)[1]
    if reading.as_json:
        typer.echo(json.dumps(done))
    elif done["keys"]:
        number = f"{done['keys']:,} {'key' if done['keys'] == 1 else 'keys'}"
        typer.echo(f"erased {subject}: {number} removed; nothing that they have sealed can be opened any more")
    else:
        typer.echo(f"{subject} has no personal data that can be opened; nothing was erased")


@command(personal_app, "rewrap")
def personal_rewrap(*, remote: Remote, reading: Reading) -> None:
    """Seal the keys of persons by the newest key of the settings, so that older ones can be removed from them."""
    done = request(remote, "POST", "/v1/personal/rewrap")[1]
    text = f"{done['keys']:,} sealed anew by {done['sealed_by']}; no other key of the settings is needed for them"
    typer.echo(json.dumps(done) if reading.as_json else text)


def add_personal_commands(app: typer.Typer) -> None:
    """Adds them to the command line."""
    app.add_typer(personal_app, name="personal", no_args_is_help=True)
