"""The same networks in PyTorch, for the benchmark only."""

from collections.abc import Callable

import torch
from torch import nn

from n2n_jax.bench.speed.twins.dncnn import DnCNN
from n2n_jax.bench.speed.twins.nafnet import NAFNetXS
from n2n_jax.bench.speed.twins.resnet50 import ResNet50UNet
from n2n_jax.bench.speed.twins.resunet import ResUNet
from n2n_jax.bench.speed.twins.unet import UNet

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    'unet': UNet,
    'resnet50': ResNet50UNet,
    'resunet': ResUNet,
    'dncnn': DnCNN,
    'nafnet_xs': NAFNetXS,
}


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
