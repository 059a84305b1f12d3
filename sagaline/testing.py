"""The test kit for definitions: ``given(saga, state).when(ok("reserve")).then(sent("charge"))``, by the real kernel."""

from .orchestrator.scenes.scene import Scene
from .orchestrator.testing import kit
from .orchestrator.testing.faults import Fault, Operation
from .orchestrator.testing.kit import *  # noqa: F403  # its names are listed once, in its __all__
from .orchestrator.testing.world import World

__all__ = ["Fault", "Operation", "Scene", "World"]
__all__ += kit.__all__
