"""The orchestrator: kernel, runtime, logs and client. Nothing is imported here, so that a part costs only itself.

Programs take ``wiring`` (from settings to running parts), ``client`` and ``errors``; the rest is for those who build
on the ports.
"""
