"""The orchestrator: kernel, runtime, logs and client. Nothing is imported here, to keep the import of one part small.

Programs use ``wiring`` (from settings to running parts), ``client`` and ``errors``; the rest is for code on the ports.
"""
