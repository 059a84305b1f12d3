"""Requests about what is there: for every operation of the API one that succeeds, in a shop with every kind of case.

Each acts on a case of its own, so that their order does not matter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import httpx

from sagaline.orchestrator.client import Client
from sagaline.orchestrator.messages.pushes import push_name
from sagaline.orchestrator.wiring import Base
from tests.dashboard.shop import later, letter, parked, post, until
from tests.push_kit import Browser

__all__ = ["NEVER", "Known", "known_requests", "path_of", "prepare"]


class Known(NamedTuple):
    """Path parameters, query and body; ``body`` None: the example of the document, or none."""

    path: Mapping[str, str]
    body: Mapping[str, Any] | None = None
    query: Mapping[str, Any] | None = None


NEVER: Final = {
    "claim_instance": "questions are put to names, and the token has none",
    "answer_instance": "as a claim",
    "restart_instance": "all that is in attention here is being undone, and then it is too late",
    "revise_instance": "only routing slips have stops ahead",
    "deliver": "deliveries are signed, with their time",
    "replay_webhook": "no `saga webhooks serve` runs",
    "test_push_subscription": "as a replay",
    "rewrap_person_keys": "the shop has no keys for personal data",
}
"""Operations that never succeed here, and why."""

_LOST: Final = tuple(f"lost-{number}" for number in range(3, 7))
_PARKED: Final = ("redriven", "skipped", "edited", "discarded")
_WEBHOOK: Final = {"url": "https://example.com/hooks/orders", "types": ["completed"]}
_HOOK: Final = {"event": "order-paid", "key_at": "/data/order_id", "id_at": "/id"}
_ENDPOINT: Final = "https://push.example.net"
_YEARLY: Final = {"definition": "label-printing", "input": {"parcel": "x"}, "cron": "0 3 1 1 *"}


async def prepare(client: Client, base: Base, api: httpx.AsyncClient) -> Mapping[str, str]:
    """Makes what the requests act on beside the shop's own cases; the ids of two commands that are at work."""
    for key in (*_LOST, "slow-2", *(f"whole-{number}" for number in range(6, 10))):
        await client.start("parcel-return", {"parcel": key}, key=key)
    await post(base, later("cancelled"), *(parked(30 + n, key.encode()) for n, key in enumerate(_PARKED)))
    await base.log.append([letter(base.topics.dead, number) for number in (3, 4)])
    for name in ("kept", "gone"):
        for path, body in (("webhooks", _WEBHOOK), ("hooks", _HOOK), ("schedules", _YEARLY)):
            made = await api.put(f"/v1/{path}/{name}", json=body)
            assert made.status_code < 300, made.text
        made = await api.post("/v1/push/subscriptions", json=Browser(f"{_ENDPOINT}/{name}").subscription())
        assert made.status_code < 300, made.text
        made = await api.post("/v1/keys", json={"name": name, "role": "viewer"})
        assert made.status_code < 300, made.text
    for key in _LOST:
        await until(client, f"parcel-return/{key}", "attention")
    await _there(
        api, "delayed/reminder-1", "delayed/cancelled", *(f"parked/billing/{key}" for key in _PARKED), "dead/0-4"
    )
    found = {}
    for name, instance in (("heartbeat", "parcel-return/slow-1"), ("reply", "label-printing/L-1")):
        rows = await client.history(instance)
        found[name] = [each.id for row in rows for each in row.record.sent][-1]
    return found


async def _there(api: httpx.AsyncClient, *paths: str) -> None:
    """Returns when all of these can be read."""
    async with asyncio.timeout(20):
        for path in paths:
            while (await api.get(f"/v1/{path}")).status_code != 200:  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0.02)


def known_requests(commands: Mapping[str, str], token: str) -> Mapping[str, Known]:
    """By operation. What is missing has no parameters, or those of ``_path``."""

    def on(key: str, step: str = "", **value: Any) -> Known:
        body = {"reason": "asked for", **({"step": step} if step else {}), **({"value": value} if value else {})}
        return Known({"definition": "parcel-return", "key": key}, body)

    def parcel(key: str, **more: Any) -> Known:
        return Known({"group": "billing", "key": key}, {"reason": "asked for", **more})

    edited = {"value": {"text": '{"order": "A-1"}'}}
    return {
        "login": Known({}, {"key": token}),
        "start_instance": Known({"definition": "parcel-return"}, {"key": "new-1", "input": {"parcel": "new-1"}}),
        "cancel_instance": on("whole-6"),
        "pause_instance": on("whole-7"),
        "resume_instance": on("whole-3"),
        "retry_instance": on("lost-3"),
        "abandon_instance": on("lost-4"),
        "assign_instance": on("whole-8", "decide", to="ann"),
        "skip_instance": on("slow-2", "weigh", note="2 kg"),
        "edit_instance": on("whole-9", patch=[{"op": "replace", "path": "/weight", "value": 2}]),
        "replace_undo_instance": on("lost-5", "receive", command={"parcel": "lost-5"}),
        "waive_instance": on("lost-6", "receive"),
        "fork_instance": Known(
            {"definition": "order-checkout", "key": "A-1001"}, {"step": "ship", "value": {"key": "A-1001-b"}}
        ),
        "publish_event": Known({"event": "order-paid"}),
        "answer_command": Known({}, {"command_id": commands["reply"], "completed": {"note": "printed"}}),
        "send_heartbeat": Known({}, {"command_id": commands["heartbeat"], "progress": {"grams": 7}}),
        "get_mailbox": Known({"event": "order-paid", "key": "O-9"}),
        "set_rules": Known({"name": "printers"}, {"rules": [{"when": {}, "to": "large"}]}),
        "create_key": Known({}, {"name": "new", "role": "viewer"}),
        "revoke_key": Known({"name": "gone"}),
        "redrive_parked": parcel("redriven"),
        "skip_parked": parcel("skipped"),
        "edit_parked": parcel("edited", letter="billing/shop.orders/0/32", **edited),
        "discard_parked": parcel("discarded"),
        "reschedule_delayed": Known({"id": "reminder-1"}, {"at": "2099-01-01T08:00:00Z"}),
        "edit_delayed": Known({"id": "reminder-1"}, {"letter": "reminder-1", **edited}),
        "cancel_delayed": Known({"id": "cancelled"}),
        "redrive_dead_letter": Known({"id": "0-1"}),
        "edit_dead_letter": Known({"id": "0-2"}, edited),
        "discard_dead_letter": Known({"id": "0-3"}),
        "put_schedule": Known({"name": "new"}, _YEARLY),
        "delete_schedule": Known({"name": "gone"}),
        "delete_webhook": Known({"name": "gone"}),
        "put_webhook": Known({"name": "new"}, _WEBHOOK),
        "put_hook": Known({"name": "new"}, _HOOK),
        "delete_hook": Known({"name": "gone"}),
        "get_push_subscription": Known({"name": push_name(f"{_ENDPOINT}/kept")}),
        "delete_push_subscription": Known({"name": push_name(f"{_ENDPOINT}/gone")}),
    }


def path_of(path: str) -> Mapping[str, str]:
    """The parameters of a path that stand for what the shop has."""
    names = {"tables": "printers", "locks": "none"}
    first = path.split("/")[2] if path.count("/") > 1 else ""
    known = {
        "definition": "order-checkout",
        "key": "A-1001",
        "revision": "1",
        "topic": "shop.state",
        "event": "order-paid",
        "name": names.get(first, "kept"),
        "id": "0-0" if first == "dead" else "reminder-1",
        "group": "billing",
    }
    if first == "parked":
        known["key"] = "ann"
    return {name: value for name, value in known.items() if f"{{{name}}}" in path}
