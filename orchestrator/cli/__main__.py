"""``python -m sagaline.orchestrator.cli``: the same as ``saga``."""

from .app import main

main()
