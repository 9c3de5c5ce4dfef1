"""NAFNet (Chen et al. 2022) in PyTorch, with the channel attention of crops.

B batch, H height, W width, C channels; PyTorch's order is (B, C, H, W), stored channels-last.
"""

import torch
from torch import nn
from torch.nn import functional as F


class _LayerNorm(nn.LayerNorm):
    """Over the channels of each pixel; channels-last maps are not moved for it."""

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        x_BHWC = x_BCHW.permute(0, 2, 3, 1)
        return super().forward(x_BHWC).permute(0, 3, 1, 2)


def _gate(x_BCHW: torch.Tensor) -> torch.Tensor:
    first_BCHW, second_BCHW = x_BCHW.chunk(2, dim=1)
    return first_BCHW * second_BCHW


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = _LayerNorm(width, eps=1e-6), _LayerNorm(width, eps=1e-6)
        self.conv1 = nn.Conv2d(width, 2 * width, 1)
        self.conv2 = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width)
        self.attention, self.conv3 = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.conv4, self.conv5 = nn.Conv2d(width, 2 * width, 1), nn.Conv2d(width, width, 1)
        self.beta = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, width, 1, 1))

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        y_BCHW = _gate(self.conv2(self.conv1(self.norm1(x_BCHW))))
        y_BCHW = y_BCHW * self.attention(F.adaptive_avg_pool2d(y_BCHW, 1))
        x_BCHW = x_BCHW + self.beta * self.conv3(y_BCHW)
        return x_BCHW + self.gamma * self.conv5(_gate(self.conv4(self.norm2(x_BCHW))))


def _blocks(width: int, number: int) -> nn.Sequential:
    return nn.Sequential(*(_Block(width) for _ in range(number)))


class NAFNetXS(nn.Module):
    """The equivalent of `n2n_jax.models.nafnet.NAFNET_XS`: 320,467 parameters.

    The means are those of the whole map, as in the paper; ours are too up to crops of 64 pixels.
    """

    def __init__(self) -> None:
        super().__init__()
        width, encoder, middle, decoder = 16, (1, 1, 2), 1, (1, 1, 1)
        self.first, self.last = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 3, 3, padding=1)
        self.encoder, self.down = nn.ModuleList(), nn.ModuleList()
        for number in encoder:
            self.encoder.append(_blocks(width, number))
            self.down.append(nn.Conv2d(width, 2 * width, 2, 2))
            width *= 2
        self.middle = _blocks(width, middle)
        self.decoder, self.up = nn.ModuleList(), nn.ModuleList()
        for number in decoder:
            up = nn.Conv2d(width, 2 * width, 1, bias=False)
            self.up.append(nn.Sequential(up, nn.PixelShuffle(2)))
            width //= 2
            self.decoder.append(_blocks(width, number))

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Maps noisy images to denoised ones."""
        y_BCHW = self.first(x_BCHW)
        skips = []
        for blocks, down in zip(self.encoder, self.down, strict=True):
            y_BCHW = blocks(y_BCHW)
            skips.append(y_BCHW)
            y_BCHW = down(y_BCHW)
        y_BCHW = self.middle(y_BCHW)
        for up, blocks in zip(self.up, self.decoder, strict=True):
            y_BCHW = blocks(up(y_BCHW) + skips.pop())
        return self.last(y_BCHW)
