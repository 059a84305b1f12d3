"""``python -m sagaline.orchestrator.cli``: the same as ``saga``."""

from .start import main

main()
