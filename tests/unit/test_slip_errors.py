"""Every mistake in a routing slip that can be seen at declaration is raised there, with the way out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from sagaline.sagas import Contract, DefinitionError
from sagaline.sagas.routing_slip import RoutingSlip, stop

from .test_language_errors import make


class Weigh(BaseModel):
    grams: int
    note: str = ""


class Weighed(BaseModel):
    grams: int
    ahead: list[str] | None = None


class Box(BaseModel):
    width: int


class Parcel(BaseModel):
    grams: int = 1
    box: Box | None = None
    label: str = ""
    count: Annotated[int, "pieces"] = 1
    weighed: Weighed | None = None
    anything: Any = None


class Empty(BaseModel):
    weighed: Weighed | None = None


weigh = Contract("weigh", Weigh, Weighed, queue="q")


def slip(*stops: Any, state: Any = Parcel, **options: Any) -> RoutingSlip[Any]:
    return RoutingSlip("parcel", state, stops=list(stops), **options)


def _undo(times: int = 1) -> Any:
    found = stop(weigh)
    for _ in range(times):
        found.undo(weigh)(lambda kept: Weigh(grams=1))
    return found


def _undo_too_late() -> None:
    found = stop(weigh)
    slip(found)
    found.undo(weigh)


def _undo_twice_at_once() -> None:
    found = stop(weigh)
    first, second = found.undo(weigh), found.undo(weigh)
    first(lambda kept: Weigh(grams=1))
    second(lambda kept: Weigh(grams=1))


def _two_plans() -> None:
    found = slip(stop(weigh))
    found.plan(lambda s: [])
    found.plan(lambda s: [])


def _undo_of_nothing() -> None:
    stop(weigh).undo(weigh)(lambda: Weigh(grams=1))  # type: ignore[misc, arg-type]  # wrong on purpose


SLIP_MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "no stops": (slip, "routing slip 'parcel': it has no stops; add one made with stop(contract)"),
    "no hop": (lambda: slip(stop(weigh), hops=0), "routing slip 'parcel': hops is 0; give a whole number, 1 to 50"),
    "too many hops": (
        lambda: slip(stop(weigh), hops=51),
        "routing slip 'parcel': hops is 51; give a whole number, 1 to 50",
    ),
    "a step": (
        lambda: slip(make()),
        "routing slip 'parcel': Step('a') in stops is not a stop; make it with stop(contract)",
    ),
    "two of one name": (
        lambda: slip(stop(weigh), stop(weigh)),
        "routing slip 'parcel': two nodes are called 'weigh'; names are the identity of a running instance, "
        "give each its own: name='…'",
    ),
    "no span of a stop": (
        lambda: stop(weigh, timeout=timedelta(0)),
        "stop 'weigh': timeout is 0:00:00; give a positive timedelta",
    ),
    "no span for the undo": (
        lambda: stop(weigh).undo(weigh, timeout=timedelta(0)),
        "undo of stop 'weigh': timeout is 0:00:00; give a positive timedelta",
    ),
    "two undos of a stop": (lambda: _undo(2), "stop 'weigh' already has an undo; remove one of the two"),
    "two undos of a stop at once": (_undo_twice_at_once, "stop 'weigh' already has an undo; remove one of the two"),
    "undo too late": (
        _undo_too_late,
        "stop 'weigh' is already part of routing slip 'parcel'; declare its undo before the slip",
    ),
    "undo without what it kept": (
        _undo_of_nothing,
        "stop 'weigh', its undo: its function takes 0 arguments; it is given a Kept, let it take 1",
    ),
    "unknown field of the command": (
        lambda: slip(stop(weigh, takes={"weight": "grams"})),
        "routing slip 'parcel', stop 'weigh': takes names 'weight', which is not a field of Weigh; correct it",
    ),
    "unknown field of the state": (
        lambda: slip(stop(weigh, takes={"grams": "weight"})),
        "routing slip 'parcel', stop 'weigh': 'grams' takes 'weight', but Parcel has no field 'weight'; "
        "name one of its fields",
    ),
    "unknown field inside": (
        lambda: slip(stop(weigh, takes={"grams": "box.height"})),
        "routing slip 'parcel', stop 'weigh': 'grams' takes 'box.height', but Box has no field 'height'; "
        "name one of its fields",
    ),
    "a path through what has no fields": (
        lambda: slip(stop(weigh, takes={"grams": "grams.x"})),
        "routing slip 'parcel', stop 'weigh': 'grams' takes 'grams.x', but that value has no field 'x'; "
        "name one of its fields",
    ),
    "another type": (
        lambda: slip(stop(weigh, takes={"grams": "label"})),
        "routing slip 'parcel', stop 'weigh': 'grams' takes 'label', which is str and must be int; "
        "take another field, or change its type",
    ),
    "a field that nothing fills": (
        lambda: slip(stop(weigh), state=Empty),
        "routing slip 'parcel', stop 'weigh': nothing fills 'grams' of Weigh; say where it comes from: "
        'takes={"grams": "field.of.Empty"}',
    ),
    "revises what is not there": (
        lambda: stop(weigh, revises="onward"),
        "stop 'weigh': revises='onward', but Weighed has no such list of names; "
        "add `onward: list[str] | None = None` to it",
    ),
    "revises what is no list": (
        lambda: stop(weigh, revises="grams"),
        "stop 'weigh': revises='grams', but Weighed has no such list of names; "
        "add `grams: list[str] | None = None` to it",
    ),
    "two plans": (_two_plans, "routing slip 'parcel': there are two plans; remove one"),
    "reply into what takes it not": (
        lambda: slip(stop(weigh, into="label")),
        "routing slip 'parcel', step 'weigh': into='label' is declared as <class 'str'>, which does not take a "
        "Weighed; declare it as `Weighed | None = None`",
    ),
}


@pytest.mark.parametrize("what", SLIP_MISTAKES)
def test_a_mistake_is_raised_at_declaration_with_the_way_out(what: str) -> None:
    make_it, message = SLIP_MISTAKES[what]
    with pytest.raises(DefinitionError) as caught:
        make_it()
    assert str(caught.value) == message


def test_what_fits_is_taken() -> None:
    """By the same name, by a path, annotated, of any type; a field with a default may stay empty."""
    found = slip(
        stop(weigh),
        stop(weigh, name="wide", takes={"grams": "box.width"}),
        stop(weigh, name="counted", takes={"grams": "count"}),
        stop(weigh, name="any", takes={"grams": "anything"}, revises="ahead"),
    )
    assert found.takes == {
        "weigh": {"grams": "grams"},
        "wide": {"grams": "box.width"},
        "counted": {"grams": "count"},
        "any": {"grams": "anything"},
    }


def test_a_plan_names_stops_of_its_slip() -> None:
    found = slip(stop(weigh))
    other = stop(weigh, name="other")
    found.plan(lambda s: [other])
    with pytest.raises(ValueError, match=r"the plan names Stop\('other'\), which is not one of the stops of 'parcel'"):
        found.itinerary(Parcel())
