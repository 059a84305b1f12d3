"""The runtime: connects the pure kernel to the ports. One processor per owned partition."""
