"""Plays one instance with the real kernel: the basis of the test kit and of ``verify``."""
