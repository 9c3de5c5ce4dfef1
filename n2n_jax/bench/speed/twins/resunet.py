"""The ResUNet with added skips in PyTorch.

B batch, H height, W width, C channels; PyTorch's order is (B, C, H, W), stored channels-last.
"""

import itertools

import torch
from torch import nn
from torch.nn import functional as F

from n2n_jax.bench.speed.twins.layers import conv


class _ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv0, self.conv1 = conv(width, width), conv(width, width)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        return x_BCHW + self.conv1(F.relu(self.conv0(x_BCHW)))


def _blocks(width: int) -> nn.Sequential:
    return nn.Sequential(_ResidualBlock(width), _ResidualBlock(width))


class ResUNet(nn.Module):
    """The equivalent of `n2n_jax.models.resunet.ResUNet`: 2,503,939 parameters."""

    def __init__(self) -> None:
        super().__init__()
        widths = (16, 32, 64, 128, 128)
        levels = list(itertools.pairwise(widths))
        self.first = conv(3, 16)
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(high, low, 2, 2), _blocks(low)) for high, low in levels
        )
        self.joined = nn.ModuleList(conv(low, high) for high, low in reversed(levels))
        self.up = nn.ModuleList(_blocks(high) for high, _ in reversed(levels))
        self.out = conv(16, 3)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Maps noisy images to denoised ones."""
        y_BCHW = self.first(x_BCHW)
        skips = []
        for down in self.down:
            skips.append(y_BCHW)
            y_BCHW = down(y_BCHW)
        for joined, up in zip(self.joined, self.up, strict=True):
            y_BCHW = F.interpolate(y_BCHW, scale_factor=2, mode='bilinear')
            y_BCHW = up(joined(y_BCHW) + skips.pop())
        return self.out(y_BCHW)
