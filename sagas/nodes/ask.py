"""``ask``: a person answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

from pydantic import BaseModel

from ..errors import DefinitionError
from ..given import check_call, check_is, check_list, check_span, check_text
from ..schemas import check_json_model
from .base import Node, S_contra, node_name

__all__ = ["Ask", "AskOptions", "Escalation", "ask"]

S = TypeVar("S", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class Escalation:
    """Who else is asked when nobody has answered; a claim on the question is released.

    Args:
        after: counted from the question.
        to: people or roles, added to those who may answer.
    """

    after: timedelta
    to: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class AskOptions(Generic[S_contra]):
    """The question and who may answer it; see ``ask``."""

    form: type[BaseModel]
    question: Callable[[S_contra], str]
    who: Callable[[S_contra], Sequence[str]]
    into: str
    due: timedelta
    escalation: Escalation | None


class Ask(Node[S_contra]):
    """A question to a person; made by ``ask``."""

    def __init__(self, name: str, options: AskOptions[S_contra]) -> None:
        self.name, self.options = name, options


def ask(
    name: str,
    form: type[BaseModel],
    *,
    question: Callable[[S], str],
    who: Callable[[S], Sequence[str]],
    into: str,
    due: timedelta,
    escalation: Escalation | None = None,
) -> Node[S]:
    """Asks a person and waits for the filled form; answered through the API and the command line.

    - success: a person who may answer has given a valid form; it is put into the state.
    - rejection: cannot happen: an answer is data; handle a "no" in the form by a ``choose`` after the ask.
    - exhaustion: cannot happen: an invalid answer, or one from a person who may not answer, is denied with the reason
      and changes nothing.
    - timeout: without an answer when it is ``due``, it fails like a step that timed out (compensation, past the pivot
      ``attention``).
    - cancel: the question is withdrawn at once.
    - undo: there is nothing to undo.
    - a claimed question: nobody else may answer it until it is assigned to another person, or escalated.
    - the escalation: more people may answer; a claim or assignment ends, and the question can be claimed again.
    - a function that raises, or returns a wrong result, puts the instance into ``attention``.

    Args:
        name: its identity in running instances.
        form: the pydantic model of the answer.
        question: a pure function of the state: the text that people read.
        who: a pure function of the state: the people or roles who may answer.
        into: the field of the state that takes the form.
        due: how long to wait for an answer.
        escalation: who else to ask, and when.

    Raises:
        DefinitionError: a form that is not JSON, a span that is not positive, an escalation at or after the due time.
    """
    check_json_model(f"ask {name!r}: its form", form, enters=True)
    check_call(f"ask {name!r}: question", question)
    check_call(f"ask {name!r}: who", who)
    check_text(f"ask {name!r}: into", into)
    check_span(f"ask {name!r}: due", due)
    if escalation is not None:
        check_is(f"ask {name!r}: escalation", escalation, Escalation, "give an Escalation(after=…, to=[…])")
        check_span(f"ask {name!r}: escalation.after", escalation.after)
        if escalation.after >= due:
            raise DefinitionError(
                f"ask {name!r} escalates after {escalation.after}, but it is due after {due}; escalate earlier"
            )
        check_list(f"ask {name!r}: escalation.to", escalation.to, "names")
        for each in escalation.to:
            check_text(f"a name in escalation.to of ask {name!r}", each)
        if not escalation.to:
            raise DefinitionError(f"ask {name!r} escalates to nobody; name a person or role in Escalation.to")
    options = AskOptions(form=form, question=question, who=who, into=into, due=due, escalation=escalation)
    return Ask(node_name("ask", name), options)
