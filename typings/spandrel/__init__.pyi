# What this project uses of spandrel, which ships no types that a strict checker can use.
from typing import Any

import torch

class UnsupportedModelError(Exception): ...

class Architecture:
    id: str

class ModelDescriptor:
    architecture: Architecture
    model: Any
    scale: int
    input_channels: int
    supports_half: bool

class ArchRegistry: ...

MAIN_REGISTRY: ArchRegistry

class ModelLoader:
    def __init__(self, *, registry: ArchRegistry = ...) -> None: ...
    def load_from_state_dict(self, state_dict: dict[str, torch.Tensor]) -> ModelDescriptor: ...
