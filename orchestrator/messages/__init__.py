"""Messages and documents: the frozen values that travel between entities, workers and clients.

Parsed from bytes by the codec and nowhere else; whoever holds one may trust it.
"""
