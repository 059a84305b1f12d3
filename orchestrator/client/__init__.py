"""The client: starts, queries and operates instances, through the log and the read model."""

from .asking import EntityChanged
from .bulk import Asked, Bulk, BulkPage, Fate, act_on_many
from .changes import Changes
from .client import Client
from .dead import DeadLetters, Edits
from .entities import EntitiesPage
from .feed import Feed
from .keys import Keys, NewKey, digest_of
from .options import RequestOptions
from .parcels import Parcels
from .parts import ClientParts
from .records import RecordsFilter
from .results import Acted, Caller, OnStep, Overdue, OverduePage, Question, QuestionsPage, Started
from .schedules import Schedules
from .tables import RulesSet, TablesPage
from .window import EventFilter, FeedEvent, FeedPage

__all__ = [
    "Acted",
    "Asked",
    "Bulk",
    "BulkPage",
    "Changes",
    "Caller",
    "Client",
    "ClientParts",
    "DeadLetters",
    "Edits",
    "Fate",
    "EventFilter",
    "Feed",
    "FeedEvent",
    "FeedPage",
    "EntitiesPage",
    "EntityChanged",
    "Keys",
    "NewKey",
    "OnStep",
    "Overdue",
    "OverduePage",
    "Parcels",
    "Question",
    "QuestionsPage",
    "RecordsFilter",
    "RequestOptions",
    "RulesSet",
    "Schedules",
    "Started",
    "TablesPage",
    "act_on_many",
    "digest_of",
]
