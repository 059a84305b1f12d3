"""Messages and documents: the frozen values that travel between entities, workers and clients.

Only the codec parses them from bytes; all other code may rely on them being valid.
"""
