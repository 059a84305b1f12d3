"""The client: starts instances, asks about them and acts on them, through the log and the read model."""

from .client import Client, ClientParts
from .feed import Feed
from .results import Acted, OnStep, Overdue, Started

__all__ = ["Acted", "Client", "ClientParts", "Feed", "OnStep", "Overdue", "Started"]
