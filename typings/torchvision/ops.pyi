# What this project uses of torchvision, which ships no types.
import torch

def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor: ...
