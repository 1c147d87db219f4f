"""How exactly GPUs compute fp32."""

from __future__ import annotations

import torch


def without_tf32() -> None:
    """Has GPUs compute fp32 in fp32, in the whole process; all that load networks call it, whichever comes first."""
    # By default, cuDNN computes fp32 convolutions in TF32, with 13 bits less. fp32 is used where these are needed.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False  # torch's default
