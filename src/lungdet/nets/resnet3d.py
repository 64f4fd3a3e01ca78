"""Two 18-layer residual networks for volumes: torchvision's video network with the notebooks' head, and MONAI's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lungdet.errors import MissingFileError
from lungdet.nets.head import Fp32Linear
from lungdet.nets.input_shape import check_classes, check_volume
from lungdet.nets.state_file import load_state_file, require_finite_tensors, require_layout

# Total strides: the last feature map then has at least one full cell.
_R3D_MINIMUM_ZYX = (8, 16, 16)
_RESNET_MINIMUM_ZYX = (16, 16, 16)


class R3d18(nn.Module):
    """torchvision `r3d_18` with a stem for `in_channels` and the head Linear(512, 128)-ReLU-Dropout-Linear(128, K).

    The notebooks feed it cubes of 64 mm (64^3 at 1 mm). Measured on two cores, 64^3, batch 16: channels_last_3d with
    bfloat16 trains 2.7 times faster than contiguous float32, and is still a GPU's job (1.2 samples/s).

    Reference: Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition", CVPR 2018,
    doi:10.1109/CVPR.2018.00675.

    Args:
        in_channels: channels of the input; a pretrained RGB stem is averaged over its colours into each of them.
        n_classes: 1 for one logit, 2 for a softmax pair.
        dropout: probability of dropping one of the 128 hidden units.
        weights: None starts at random; `kinetics400` takes torchvision's weights (downloaded once into the PyTorch
            cache); anything else is the path of a state dict of torchvision's `r3d_18`.

    Raises:
        ShapeError: `n_classes` is neither 1 nor 2.
        MissingFileError: weights that are neither on disk nor can be downloaded.
        RunError: a weights file that is not a state dict of `r3d_18`; `ShapeError` where only the shapes differ.
    """

    memory_format: torch.memory_format = torch.channels_last_3d

    def __init__(
        self, in_channels: int = 1, n_classes: int = 1, dropout: float = 0.3, weights: str | None = None
    ) -> None:
        super().__init__()
        from torchvision.models.video import r3d_18

        check_classes("R3d18", n_classes)
        self.in_channels = in_channels
        self.n_classes = n_classes
        self.backbone = r3d_18(weights=None)
        features = self.backbone.fc.in_features
        self.backbone.fc = nn.Identity()
        stem = self.backbone.stem[0]
        self.backbone.stem[0] = nn.Conv3d(
            in_channels, stem.out_channels, stem.kernel_size, stride=stem.stride, padding=stem.padding, bias=False
        )
        nn.init.kaiming_normal_(self.backbone.stem[0].weight, mode="fan_out", nonlinearity="relu")
        self.head = nn.Sequential(
            nn.Linear(features, 128), nn.ReLU(inplace=True), nn.Dropout(dropout), Fp32Linear(128, n_classes)
        )
        if weights is not None:
            self._load_backbone(weights)

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, in_channels, D, H, W] -> logits float32 [B, n_classes]."""
        logits: Tensor = self.head(self.backbone(x))
        return logits

    def check_input(self, channels: int, shape: Sequence[int]) -> None:
        """Accept any (D, H, W) from (8, 16, 16), the total stride; the padded convolutions drop no voxel.

        Raises:
            ShapeError: other channels, not three axes, or an axis below its minimum; the message names the axis.
        """
        check_volume("R3d18", channels, shape=shape, in_channels=self.in_channels, minimum_zyx=_R3D_MINIMUM_ZYX)

    def _load_backbone(self, weights: str) -> None:
        if weights == "kinetics400":
            state = _kinetics400()
        else:
            state = require_finite_tensors(load_state_file(weights), weights)
        state = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
        stem = state.get("stem.0.weight")
        if stem is not None and stem.shape[1] != self.in_channels:
            state["stem.0.weight"] = stem.mean(dim=1, keepdim=True).repeat(1, self.in_channels, 1, 1, 1)
        require_layout(state, self.backbone.state_dict(), path=weights, net="torchvision's r3d_18")
        self.backbone.load_state_dict(state, strict=True)


class ResNet3d18(nn.Module):
    """MONAI's 3-D ResNet-18 (7^3 stem, max-pooling, four stages) with one linear head.

    Measured on two cores, 64^3, batch 16: channels_last_3d with bfloat16 trains 2.3 times faster than contiguous
    float32.

    Reference: Hara, Kataoka, Satoh, "Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?",
    CVPR 2018, doi:10.1109/CVPR.2018.00685.

    Args:
        in_channels: channels of the input.
        n_classes: 1 for one logit, 2 for a softmax pair.
        stem_stride: stride of the first convolution; 1 (MONAI's) keeps small nodules, 2 is eight times cheaper.

    Raises:
        ShapeError: `n_classes` is neither 1 nor 2.
    """

    memory_format: torch.memory_format = torch.channels_last_3d

    def __init__(self, in_channels: int = 1, n_classes: int = 1, stem_stride: int = 1) -> None:
        super().__init__()
        from monai.networks.nets.resnet import resnet18

        check_classes("ResNet3d18", n_classes)
        self.in_channels = in_channels
        self.n_classes = n_classes
        z, y, x = (size * stem_stride for size in _RESNET_MINIMUM_ZYX)
        self.minimum_zyx = (z, y, x)
        self.backbone = resnet18(
            spatial_dims=3, n_input_channels=in_channels, conv1_t_stride=stem_stride, feed_forward=False
        )
        self.head = Fp32Linear(512, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, in_channels, D, H, W] -> logits float32 [B, n_classes]."""
        logits: Tensor = self.head(self.backbone(x))
        return logits

    def check_input(self, channels: int, shape: Sequence[int]) -> None:
        """Accept any (D, H, W) from 16 voxels per axis (times `stem_stride`), the total stride.

        Raises:
            ShapeError: other channels, not three axes, or an axis below its minimum; the message names the axis.
        """
        check_volume("ResNet3d18", channels, shape=shape, in_channels=self.in_channels, minimum_zyx=self.minimum_zyx)


def _kinetics400() -> dict[str, Tensor]:
    from torchvision.models.video import R3D_18_Weights

    source = R3D_18_Weights.KINETICS400_V1
    try:
        state: dict[str, Tensor] = dict(source.get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong checksum is a RuntimeError
        raise MissingFileError(
            f"weights=kinetics400 could not be downloaded ({error}). On a machine with internet fetch {source.url}, "
            "then set weights to the path of that file; or set weights=null to start at random"
        ) from error
    return state
