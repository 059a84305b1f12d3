"""The client: starts instances, asks about them and acts on them, through the log and the read model."""

from .client import Client
from .feed import Feed
from .helpers import HelpersPage
from .parts import ClientParts
from .results import Acted, OnStep, Overdue, Started
from .tables import RulesSet

__all__ = ["Acted", "Client", "ClientParts", "Feed", "HelpersPage", "OnStep", "Overdue", "RulesSet", "Started"]
