from pathlib import Path

import torch

def save_file(tensors: dict[str, torch.Tensor], filename: Path, metadata: dict[str, str]) -> None: ...
