"""What other programs send with: events, commands and requests, without an engine or a read model."""

from .orchestrator.producer import Producer

__all__ = ["Producer"]
