"""How this process uses a GPU."""

from __future__ import annotations

import torch


def keep_float32_exact() -> None:
    """Have convolutions in float32 round as on the CPU: cuDNN's default is TF32, of 10 bits."""
    torch.backends.cudnn.allow_tf32 = False
