"""The U-Net of Lehtinen et al. 2018 in PyTorch.

B batch, H height, W width, C channels; PyTorch's order is (B, C, H, W), stored channels-last.
"""

import torch
from torch import nn
from torch.nn import functional as F

from n2n_jax.bench.speed.twins.layers import conv, leaky, up_and_join


class UNet(nn.Module):
    """The equivalent of `n2n_jax.models.unet.UNet`: 991,203 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleList([conv(3, 48), *(conv(48, 48) for _ in range(6))])
        widths = [(96, 96), (96, 96), *[(144, 96), (96, 96)] * 3, (99, 64), (64, 32)]
        self.decoder = nn.ModuleList([conv(*width) for width in widths])
        self.out = conv(32, 3)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Maps noisy images to denoised ones."""
        skips = [x_BCHW]
        y_BCHW = leaky(self.encoder[0](x_BCHW))
        for layer in self.encoder[1:6]:
            y_BCHW = F.max_pool2d(leaky(layer(y_BCHW)), 2)
            skips.append(y_BCHW)
        skips.pop()
        y_BCHW = leaky(self.encoder[6](y_BCHW))
        for first, second in zip(self.decoder[::2], self.decoder[1::2], strict=True):
            y_BCHW = leaky(first(up_and_join(y_BCHW, skips.pop())))
            y_BCHW = leaky(second(y_BCHW))
        return self.out(y_BCHW)
