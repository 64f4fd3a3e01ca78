"""What an explanation asks a classifier for: the logit or the probability of each sample's true class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lungdet.errors import ConfigError, ShapeError

if TYPE_CHECKING:
    from lungdet.explain.window_scores import WindowProbability

# float32 [N, C, *space] and int64 [N], the class asked for -> float32 [N].
ClassScore = Callable[[Tensor, Tensor], Tensor]
# Outputs of a network, float [N, 1] or [N, 2] -> float32 [N], the logit of class 1.
ToLogit = Callable[[Tensor], Tensor]


def class_logit(network: nn.Module, to_logit: ToLogit) -> ClassScore:
    """The logit of the class asked for: that of class 1, with its sign turned for class 0.

    Gradients are taken of this: the slope of a probability near 0 or 1 is lost in float32.

    Args:
        network: a binary classifier in evaluation mode; anything else it needs is its caller's to bind.
        to_logit: the convention of its outputs (`lungdet.losses.classification.binary_logit`).

    Returns:
        A function of images and classes. It raises ConfigError while the network is in training mode, where dropout
        and batch norm would make a sample's score depend on its batch, and ShapeError for classes that are not 0 or 1
        or not one per image.
    """

    def score(images: Tensor, classes: Tensor) -> Tensor:
        if network.training:
            raise ConfigError(
                [f"{type(network).__name__} is in training mode, so its answer changes from call to call: type .eval()"]
            )
        check_classes(len(images), classes)
        return logit_of_class(network(images), classes, to_logit)

    return score


def logit_of_class(outputs: Tensor, classes: Tensor, to_logit: ToLogit) -> Tensor:
    """The logit of the class asked for, float32 [N], of a network's outputs, float [N, 1] or [N, 2]."""
    return to_logit(outputs) * (2 * classes.to(outputs.device) - 1)


def check_classes(n_images: int, classes: Tensor) -> None:
    """Refuse classes that nothing can be asked about.

    Raises:
        ShapeError: classes that are not 0 or 1, or not one per image.
    """
    if classes.shape != (n_images,) or bool(((classes != 0) & (classes != 1)).any()):
        raise ShapeError(f"{n_images} image(s) need {n_images} class(es) that are 0 or 1, got {classes.tolist()[:8]}")


def class_probability(network: nn.Module, to_logit: ToLogit) -> ClassScore:
    """The probability of the class asked for; arguments and errors as `class_logit`."""
    logit = class_logit(network, to_logit)

    def score(images: Tensor, classes: Tensor) -> Tensor:
        return torch.sigmoid(logit(images, classes))

    return score


@dataclass(frozen=True)
class Classifier:
    """What is explained.

    Args:
        network: a binary classifier in evaluation mode.
        to_logit: the convention of its outputs.
        quick: a copy that gives the same answers sooner but has neither gradients nor layers (`accelerated`); None
            for no copy.
        single: the module of `network` that looks at an image once, where the network averages over several looks
            (mirror images, quarter turns), each of which a layer shows lying otherwise. None where it is the network.
        windows: answers for images with one part masked out sooner than `quick`; None for no such thing.
    """

    network: nn.Module
    to_logit: ToLogit
    quick: nn.Module | None = None
    single: nn.Module | None = None
    windows: WindowProbability | None = None

    @property
    def probability(self) -> ClassScore:
        """Of the class asked for; without gradients."""
        return class_probability(self.network if self.quick is None else self.quick, self.to_logit)

    @property
    def logit(self) -> ClassScore:
        """Of the class asked for; for gradients."""
        return class_logit(self.network, self.to_logit)

    @property
    def single_look(self) -> nn.Module:
        """What a layer belongs to."""
        return self.network if self.single is None else self.single

    @property
    def single_logit(self) -> ClassScore:
        """As `logit`, of one look."""
        return class_logit(self.single_look, self.to_logit)

    def of_copy(self, network: nn.Module) -> Classifier:
        """The same of a copy of the network, such as one with other weights."""
        if self.single is None:
            return Classifier(network, self.to_logit)
        name = next(name for name, module in self.network.named_modules() if module is self.single)
        return Classifier(network, self.to_logit, single=network.get_submodule(name))
