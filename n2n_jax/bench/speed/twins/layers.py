"""Layers that several of the networks share.

B batch, H height, W width, C channels; PyTorch's order is (B, C, H, W), stored channels-last.
"""

import torch
from torch import nn
from torch.nn import functional as F


def conv(num_in: int, num_out: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    """Returns a convolution that keeps the size at stride 1."""
    return nn.Conv2d(num_in, num_out, size, stride, padding=size // 2)


def leaky(x_BCHW: torch.Tensor) -> torch.Tensor:
    """Returns max(x, 0.1 x)."""
    return F.leaky_relu(x_BCHW, 0.1)


def up_and_join(low_BCHW: torch.Tensor, skip_BCHW: torch.Tensor) -> torch.Tensor:
    """Returns a map at twice the size, with the channels of another behind its own."""
    return torch.cat([F.interpolate(low_BCHW, scale_factor=2, mode='nearest'), skip_BCHW], dim=1)
