"""What other programs use without an engine or a read model: ``Producer`` sends messages over the log, ``RestClient``
starts, queries and operates instances over HTTP. ``SyncProducer`` and ``SyncRestClient`` are for programs without an
event loop.
"""

from .api.rest_calls import ApiProblem, ApiUnreachable
from .api.rest_client import RestClient, SyncRestClient
from .api.searching import InstanceWhere
from .orchestrator.producer import Producer
from .orchestrator.sync_producer import SyncProducer

__all__ = [
    "ApiProblem",
    "ApiUnreachable",
    "InstanceWhere",
    "Producer",
    "RestClient",
    "SyncProducer",
    "SyncRestClient",
]
