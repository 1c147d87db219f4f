"""Networks as sequences of stages: one small module per architecture, loaded with spandrel."""

from upscaling.superres.networks.load import load
from upscaling.superres.networks.stage import Network, Stage

__all__ = ["Network", "Stage", "load"]
