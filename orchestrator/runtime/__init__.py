"""The runtime: drives the pure kernel with what the ports deliver. One processor per owned partition."""
