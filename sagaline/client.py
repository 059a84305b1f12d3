"""What other programs send with: events, commands and requests, without an engine or a read model."""

from .orchestrator.producer import Producer
from .orchestrator.sync_producer import SyncProducer

__all__ = ["Producer", "SyncProducer"]
