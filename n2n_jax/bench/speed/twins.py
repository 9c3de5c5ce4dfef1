"""The same networks in PyTorch, for the benchmark only.

B batch, H height, W width, C channels; PyTorch's order is (B, C, H, W), stored channels-last.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F


def _conv(num_in: int, num_out: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(num_in, num_out, size, stride, padding=size // 2)


def _leaky(x_BCHW: torch.Tensor) -> torch.Tensor:
    return F.leaky_relu(x_BCHW, 0.1)


def _up_and_join(low_BCHW: torch.Tensor, skip_BCHW: torch.Tensor) -> torch.Tensor:
    return torch.cat([F.interpolate(low_BCHW, scale_factor=2, mode='nearest'), skip_BCHW], dim=1)


class UNet(nn.Module):
    """The equivalent of `n2n_jax.models.unet.UNet`: 991,203 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleList([_conv(3, 48), *(_conv(48, 48) for _ in range(6))])
        widths = [(96, 96), (96, 96), *[(144, 96), (96, 96)] * 3, (99, 64), (64, 32)]
        self.decoder = nn.ModuleList([_conv(*width) for width in widths])
        self.out = _conv(32, 3)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Maps noisy images to denoised ones."""
        skips = [x_BCHW]
        y_BCHW = _leaky(self.encoder[0](x_BCHW))
        for layer in self.encoder[1:6]:
            y_BCHW = F.max_pool2d(_leaky(layer(y_BCHW)), 2)
            skips.append(y_BCHW)
        skips.pop()
        y_BCHW = _leaky(self.encoder[6](y_BCHW))
        for first, second in zip(self.decoder[::2], self.decoder[1::2], strict=True):
            y_BCHW = _leaky(first(_up_and_join(y_BCHW, skips.pop())))
            y_BCHW = _leaky(second(y_BCHW))
        return self.out(y_BCHW)


class _Bottleneck(nn.Module):
    def __init__(self, num_in: int, width: int, stride: int, project: bool) -> None:
        super().__init__()
        self.conv1 = _conv(num_in, width, 1)
        self.conv2 = _conv(width, width, 3, stride)
        self.conv3 = _conv(width, 4 * width, 1)
        self.shortcut = _conv(num_in, 4 * width, 1, stride) if project else nn.Identity()

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        y_BCHW = F.relu(self.conv2(F.relu(self.conv1(x_BCHW))))
        return F.relu(self.shortcut(x_BCHW) + self.conv3(y_BCHW))


class ResNet50UNet(nn.Module):
    """The equivalent of `n2n_jax.models.resnet.ResNetUNet`, no norm: 24,948,611 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, 64, 7, 2)
        self.stages = nn.ModuleList()
        num_in = 64
        for stage, depth in enumerate((3, 4, 6, 3)):
            blocks = []
            for block in range(depth):
                stride = 2 if stage and block == 0 else 1
                blocks.append(_Bottleneck(num_in, 64 * 2**stage, stride, block == 0))
                num_in = 256 * 2**stage
            self.stages.append(nn.Sequential(*blocks))
        self.full = nn.ModuleList([_conv(3, 32), _conv(32, 32)])
        widths = (128, 96, 64, 64, 32)
        skips = (128, 96, 64, 64, 35)
        self.reduce = nn.ModuleList(
            [_conv(2048, 128, 1), _conv(1024, 128, 1), _conv(512, 96, 1), _conv(256, 64, 1)]
        )
        below = (128, *widths[:-1])
        self.first = nn.ModuleList(
            [_conv(b + s, w) for b, s, w in zip(below, skips, widths, strict=True)]
        )
        self.second = nn.ModuleList([_conv(w, w) for w in widths])
        self.out = _conv(32, 3)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Maps noisy images to denoised ones."""
        full_BCHW = _leaky(self.full[1](_leaky(self.full[0](x_BCHW))))
        y_BCHW = F.relu(self.stem(x_BCHW))
        skips = [torch.cat([full_BCHW, x_BCHW], dim=1), y_BCHW]
        y_BCHW = F.max_pool2d(y_BCHW, 3, 2, 1)
        for stage in self.stages:
            y_BCHW = stage(y_BCHW)
            skips.append(y_BCHW)
        y_BCHW = _leaky(self.reduce[0](skips.pop()))
        for level, (first, second) in enumerate(zip(self.first, self.second, strict=True)):
            skip_BCHW = skips.pop()
            if level < 3:
                skip_BCHW = _leaky(self.reduce[level + 1](skip_BCHW))
            y_BCHW = _leaky(second(_leaky(first(_up_and_join(y_BCHW, skip_BCHW)))))
        return self.out(y_BCHW)


NETWORKS: dict[str, Callable[[], nn.Module]] = {'unet': UNet, 'resnet50': ResNet50UNet}


def device() -> str:
    """Returns the device that PyTorch computes on, 'cuda' or 'cpu'."""
    return 'cuda' if torch.cuda.is_available() else 'cpu'


def build(name: str, device: str) -> nn.Module:
    """Builds a network on a device with PyTorch's fastest settings: channels-last, TF32."""
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True  # as JAX does
    return NETWORKS[name]().to(device, memory_format=torch.channels_last)


def compiled(network: nn.Module) -> nn.Module:
    """Compiles a network with PyTorch's fastest settings; on a GPU that includes CUDA graphs."""
    torch.compiler.reset()  # otherwise the second size would be compiled for dynamic sizes
    mode = 'reduce-overhead' if device() == 'cuda' else None
    return torch.compile(network, mode=mode, dynamic=False)
