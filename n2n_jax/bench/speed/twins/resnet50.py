"""The U-Net with a ResNet-50 encoder in PyTorch.

B batch, H height, W width, C channels; PyTorch's order is (B, C, H, W), stored channels-last.
"""

import torch
from torch import nn
from torch.nn import functional as F

from n2n_jax.bench.speed.twins.layers import conv, leaky, up_and_join


class _Bottleneck(nn.Module):
    def __init__(self, num_in: int, width: int, stride: int, project: bool) -> None:
        super().__init__()
        self.conv1 = conv(num_in, width, 1)
        self.conv2 = conv(width, width, 3, stride)
        self.conv3 = conv(width, 4 * width, 1)
        self.shortcut = conv(num_in, 4 * width, 1, stride) if project else nn.Identity()

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        y_BCHW = F.relu(self.conv2(F.relu(self.conv1(x_BCHW))))
        return F.relu(self.shortcut(x_BCHW) + self.conv3(y_BCHW))


class ResNet50UNet(nn.Module):
    """The equivalent of `n2n_jax.models.resnet.ResNetUNet`, no norm: 24,948,611 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 64, 7, 2)
        self.stages = nn.ModuleList()
        num_in = 64
        for stage, depth in enumerate((3, 4, 6, 3)):
            blocks = []
            for block in range(depth):
                stride = 2 if stage and block == 0 else 1
                blocks.append(_Bottleneck(num_in, 64 * 2**stage, stride, block == 0))
                num_in = 256 * 2**stage
            self.stages.append(nn.Sequential(*blocks))
        self.full = nn.ModuleList([conv(3, 32), conv(32, 32)])
        widths = (128, 96, 64, 64, 32)
        skips = (128, 96, 64, 64, 35)
        self.reduce = nn.ModuleList(
            [conv(2048, 128, 1), conv(1024, 128, 1), conv(512, 96, 1), conv(256, 64, 1)]
        )
        below = (128, *widths[:-1])
        self.first = nn.ModuleList(
            [conv(b + s, w) for b, s, w in zip(below, skips, widths, strict=True)]
        )
        self.second = nn.ModuleList([conv(w, w) for w in widths])
        self.out = conv(32, 3)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Maps noisy images to denoised ones."""
        full_BCHW = leaky(self.full[1](leaky(self.full[0](x_BCHW))))
        y_BCHW = F.relu(self.stem(x_BCHW))
        skips = [torch.cat([full_BCHW, x_BCHW], dim=1), y_BCHW]
        y_BCHW = F.max_pool2d(y_BCHW, 3, 2, 1)
        for stage in self.stages:
            y_BCHW = stage(y_BCHW)
            skips.append(y_BCHW)
        y_BCHW = leaky(self.reduce[0](skips.pop()))
        for level, (first, second) in enumerate(zip(self.first, self.second, strict=True)):
            skip_BCHW = skips.pop()
            if level < 3:
                skip_BCHW = leaky(self.reduce[level + 1](skip_BCHW))
            y_BCHW = leaky(second(leaky(first(up_and_join(y_BCHW, skip_BCHW)))))
        return self.out(y_BCHW)
