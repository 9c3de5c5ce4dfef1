"""The DnCNN of Zhang et al. 2017 in PyTorch.

B batch, H height, W width, C channels; PyTorch's order is (B, C, H, W), stored channels-last.
"""

from torch import nn


class DnCNN(nn.Sequential):
    """The equivalent of `n2n_jax.models.dncnn.DnCNN`, for color: 558,403 parameters."""

    def __init__(self) -> None:
        layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(inplace=True)]
        for _ in range(15):
            layers += [
                nn.Conv2d(64, 64, 3, padding=1, bias=False),
                nn.BatchNorm2d(64, eps=1e-4, momentum=0.1),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers, nn.Conv2d(64, 3, 3, padding=1))
