"""Output for people: instances, one instance, its history. Text from outside is never read as markup."""

from __future__ import annotations

import json
from datetime import datetime

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.segment import Segments
from rich.table import Table
from rich.text import Text

from ..messages.document import Status, StepStatus
from ..messages.outputs import Outcome, shown_label
from .remote import Json
from .terminal import visible_segments

__all__ = [
    "STYLES",
    "inspection_view",
    "grid",
    "history_table",
    "instance_view",
    "instances_table",
    "moment",
    "overdue_table",
    "print_list",
    "print_out",
    "questions_table",
    "queues_table",
    "status_text",
]

STYLES = {
    Status.RUNNING: "cyan",
    Status.COMPENSATING: "yellow",
    Status.ATTENTION: "bold red",
    Status.COMPLETED: "green",
    Status.COMPENSATED: "magenta",
    Status.ABANDONED: "dim",
    StepStatus.DONE: "green",
    StepStatus.UNDONE: "magenta",
    StepStatus.FAILED: "red",
    StepStatus.REJECTED: "red",
    StepStatus.BLOCKED: "bold red",
    StepStatus.UNDO_FAILED: "bold red",
}


def grid(*columns: str) -> Table:
    """An empty table with these columns; no column is cut off."""
    table = Table(box=SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def print_out(what: RenderableType) -> None:
    """Prints to stdout; when that is not a terminal, no line is cut off."""
    console = Console(soft_wrap=False)
    if not console.is_terminal:
        console = Console(width=160, no_color=True)
    console.print(Segments(visible_segments(console.render(what))), end="")


def print_list(table: Table, mark: str | int | None) -> None:
    """Prints a list, with a note when it is incomplete."""
    if mark is not None:
        table.caption, table.caption_justify = "there are more: give a larger --limit, or filter", "left"
    print_out(table)


def moment(at: str | None) -> str:
    """An ISO time as local time to the millisecond; empty for None."""
    if at is None:
        return ""
    return datetime.fromisoformat(at).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def status_text(status: str | None, *, paused: bool = False) -> Text:
    """A status in its colour."""
    text = Text(status or "none", style=STYLES.get(status or "", ""))  # type: ignore[call-overload]
    return text.append(" (paused)", style="yellow") if paused else text


def instances_table(instances: list[Json]) -> Table:
    """One line per instance."""
    table = Table(box=SIMPLE_HEAD)
    table.add_column("instance", overflow="fold")
    table.add_column("version", justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("changed", no_wrap=True)
    table.add_column("attention", overflow="fold")
    for each in instances:
        table.add_row(
            Text(each["id"]),
            str(each["version"]),
            status_text(each["status"], paused=each["paused"]),
            moment(each["updated_at"]),
            Text(_matter(each)),
        )
    return table


def operations_table(operations: list[Json]) -> Table:
    """One line per operation."""
    table = grid("when", "who", "act", "on", "why", "decision")
    for each in operations:
        step = f" at {each['step']}" if each["step"] else ""
        why = f": {each['reason']}" if each["reason"] and each["outcome"] != "applied" else ""
        on = Text(f"{each['target']}{step}")
        table.add_row(
            moment(each["at"]), Text(each["who"]), each["act"], on, Text(each["why"]), Text(f"{each['outcome']}{why}")
        )
    return table


def instance_view(document: Json) -> Group:
    """Everything an operator needs to know about one instance."""
    facts = Table.grid(padding=(0, 2))
    facts.add_row("instance", Text(document["id"], style="bold"))
    facts.add_row("version", str(document["version"]))
    facts.add_row("status", status_text(document["status"], paused=document["paused"]))
    facts.add_row("started", moment(document["created_at"]))
    facts.add_row("changed", f"{moment(document['updated_at'])}  (revision {document['revision']})")
    if document["finished_at"] is not None:
        facts.add_row("ended", moment(document["finished_at"]))
    facts.add_row("trace", document["trace_id"] or "none")
    if document["pivot_passed"]:
        facts.add_row("pivot", "passed: forward only")
    if document["deferred_count"]:
        facts.add_row("deferred", f"{document['deferred_count']} messages wait until it continues")
    if document["forked_from"]:
        facts.add_row("forked", Text(f"from {document['forked_from']}"))
    if document["restarting"]:
        facts.add_row("restart", Text(f"from {document['restarting']}: its steps from there on are being undone"))
    for warning in document["warnings"]:
        facts.add_row("warning", Text(warning, style="yellow"))
    for name in ("cause", "attention"):
        if document[name] is not None:
            facts.add_row(name, _cause(document[name]))
    parts: list[RenderableType] = [facts, _steps(document["steps"])]
    if document["timers"]:
        parts.append(_timers(document["timers"]))
    return Group(*parts)


def history_table(instance: str, rows: list[Json]) -> Table:
    """One line per decision."""
    table = Table(title=Text(instance), title_justify="left", box=SIMPLE_HEAD)
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("at", no_wrap=True)
    table.add_column("what came", overflow="fold")
    table.add_column("changes, messages sent", overflow="fold")
    table.add_column("status", no_wrap=True)
    for row in rows:
        plain = row["outcome"] == Outcome.APPLIED and not row["reason"]
        came = _came(row["message"], instance)
        done = [f"{change['what']}: {change['before'] or 'new'} → {change['after']}" for change in row["changes"]]
        done += [f"sent {_within(instance, sent['id'])}" for sent in row["sent"]]
        table.add_row(
            str(row["revision"]),
            moment(row["at"]).partition(" ")[2],
            Text(came if plain else f"{came} ({row['outcome']}{': ' if row['reason'] else ''}{row['reason']})"),
            Text("\n".join(done)),
            status_text(row["status"]),
        )
    return table


def _within(instance: str, command_id: str) -> str:
    """A command's id without its instance: ``charge/2``."""
    label, slash, attempt = command_id.removeprefix(f"{instance}/").partition("/")
    return f"{shown_label(label)}{slash}{attempt}"


def _came(message: Json | None, instance: str) -> str:
    """A short description of a message."""
    if message is None:
        return "(too large to be kept)"
    about = _within(instance, str(message.get("command_id", "")))
    match message["kind"]:
        case "timer":
            return f"timer {message['timer']}"
        case "act":
            by, why = message["by"], message["reason"]
            return str(message["act"]) + (f" by {by}" if by else "") + (f": {why}" if why else "")
        case "completed":
            return f"reply to {about}"
        case "rejected":
            return f"rejection of {about}: {message['reason']}"
        case "heartbeat":
            return f"heartbeat of {about}"
        case "failed":
            return f"failure of {about}: {message['error']}"
        case other:
            return str(other)


def _cause(cause: Json) -> Text:
    where = f" at step {cause['step']}" if cause.get("step") else ""
    code = f" ({cause['code']})" if cause.get("code") else ""
    text = Text(f"{cause['kind']}{where}{code}: {cause['message']}", style="red")
    return text.append(f"\n{cause['detail']}", style="dim") if cause.get("detail") else text


def _steps(steps: list[Json]) -> Table:
    table = grid("step", "status", "attempts", "undo", "undo attempts", "since", "last error")
    for step in steps:
        undo = step["undo"] or {"contract": "none", "attempts": ""}
        table.add_row(
            Text(step["name"]),
            status_text(step["status"]),
            str(step["attempts"]),
            Text(undo["contract"]),
            str(undo["attempts"]),
            moment(step["changed_at"]).partition(" ")[2],
            Text(step["error"] or ""),
        )
        if step["heartbeat"] is not None:
            heard, progress = step["heartbeat"], json.dumps(step["heartbeat"]["progress"] or {})
            table.add_row("", "", "", "", "", moment(heard["at"]).partition(" ")[2], Text(f"heartbeat: {progress}"))
    return table


def _timers(timers: list[Json]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.add_column("timer")
    table.add_column("due")
    for timer in timers:
        name = "end of retention" if timer["name"] == "~retention" else timer["name"]
        table.add_row(Text(name), moment(timer["due_at"]))
    return table


def _matter(document: Json) -> str:
    cause = document["attention"] or document["cause"]
    if not cause:
        return ""
    first, _, _ = cause["message"].partition("\n")
    return f"{cause['kind']}: {first}"


def overdue_table(overdue: list[Json]) -> Table:
    """One line per step."""
    table = grid("instance", "step", "status", "overdue since", "times out at")
    for each in overdue:
        table.add_row(
            Text(each["instance"]),
            Text(each["step"]),
            status_text(each["status"]),
            moment(each["overdue"]),
            moment(each["deadline"]),
        )
    return table


def queues_table(queues: list[Json]) -> Table:
    """One line per lane."""
    table = grid("queue", "lane", "waiting", "in work", "oldest", "workers", "why")
    for each in queues:
        table.add_row(
            Text(each["queue"]),
            Text(each["lane"]),
            Text(f"{each['waiting']:,}"),
            Text(f"{each['in_work']:,}"),
            moment(each["oldest"]),
            Text(str(len(each["workers"]))),
            Text(each["reason"] or each["why"]),
        )
    return table


def questions_table(questions: list[Json]) -> Table:
    """One line per question."""
    table = grid("instance", "step", "question", "who may answer", "due", "form")
    for each in questions:
        who = f"{each['claimed_by']} (claimed)" if each["claimed_by"] else ", ".join(each["who"])
        form = ", ".join((each["form"] or {}).get("properties", {})) or "?"
        table.add_row(*map(Text, (each["instance"], each["step"], each["question"], who, moment(each["due"]), form)))
    return table


def inspection_view(found: Json) -> RenderableType:
    """Why it needs attention, what is outstanding, which acts are possible, and what a cancel would do."""
    attention, cancel = found["attention"], found["cancel"]
    lines = [Text(f"{found['id']} is ").append_text(status_text(found["status"]))]
    if attention:
        lines.append(Text(f"since {moment(attention['at'])}: {attention['message']}"))
    lines += [Text(f"warning: {warning}", style="yellow") for warning in found["warnings"]]
    lines.append(Text(f"outstanding: {_named(found['outstanding'])}"))
    lines.append(Text(f"possible acts: {', '.join(found['acts']) or 'nothing'}"))
    on_steps: dict[str, list[str]] = {}
    for each in found["on_steps"]:
        on_steps.setdefault(each["step"], []).append(each["act"])
    lines += [Text(f"on step {step}: {', '.join(acts)}") for step, acts in on_steps.items()]
    if cancel["code"]:
        lines.append(Text(f"cancel would be denied: {cancel['reason']}"))
    else:
        lines.append(Text(f"cancel would undo, in this order: {_named(cancel['undone'])}"))
        if cancel["awaited"]:
            lines.append(Text(f"after the reply or the deadline of: {', '.join(cancel['awaited'])}"))
        if cancel["stays"]:
            lines.append(Text(f"nothing would undo: {_named(cancel['stays'])}"))
    return Group(*lines)


def _named(steps: list[Json]) -> str:
    named = [f"{each['step']} ({each['status']}" + (f", by {each['undo']})" if each["undo"] else ")") for each in steps]
    return ", ".join(named) or "nothing"
