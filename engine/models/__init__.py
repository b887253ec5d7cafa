"""Language models: opened, read with their attention captured, and trained."""

from engine.models.loading import load
from engine.models.masks import ModelError
from engine.models.read import Model
from engine.models.trace import Trace
from engine.models.zoo.known import announce

__all__ = ["Model", "ModelError", "Trace", "load"]

announce()
