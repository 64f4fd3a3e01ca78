"""Sanity check of an explanation: with the weights redrawn at random, its maps have to change.

Reference: Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018, arXiv:1810.03292.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from lungdet.errors import ConfigError, ShapeError

Randomisation = Literal["cascading", "all"]

_BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def sanity_check(
    network: nn.Module,
    explain: Callable[[nn.Module], Tensor],
    *,
    images: Tensor,
    seed: int,
    randomisation: Randomisation = "cascading",
) -> pd.DataFrame:
    """Compare the maps of a network with those of its randomised copies.

    Args:
        network: in evaluation mode; it is not changed.
        explain: network -> float [B, *space], the maps of the same images every time.
        images: float32 [B, C, *space], for the statistics of batch norm (`randomised_networks`).
        seed: of the new weights.
        randomisation: `cascading` redraws from the output downwards, one module more each time; `all` all at once.

    Returns:
        Columns step (modules redrawn), module (the last of them), image (place in the batch), rank_correlation
        (Spearman's, of the maps as they are; NaN where one of them is the same everywhere).

    Raises:
        ConfigError: another randomisation, or a network without weights that can be redrawn.
    """
    trained = explain(network)
    frames = []
    for step, name, randomised in randomised_networks(network, images=images, seed=seed, randomisation=randomisation):
        correlation = rank_correlations(trained, explain(randomised))
        frames.append(
            pd.DataFrame({"image": np.arange(len(correlation)), "rank_correlation": correlation}).assign(
                step=step, module=name
            )
        )
    return pd.concat(frames, ignore_index=True)[["step", "module", "image", "rank_correlation"]]


def randomised_networks(
    network: nn.Module, *, images: Tensor, seed: int, randomisation: Randomisation = "cascading"
) -> Iterator[tuple[int, str, nn.Module]]:
    """Copies of a network with weights drawn anew by the modules' own rule, the order being that of their registration.

    A redrawn batch norm would keep neither its old statistics, which belong to other weights, nor a mean of 0 and a
    variance of 1, with which the signal of a deep network dies out: it estimates them on `images`, once.

    Args:
        network: in evaluation mode; it is not changed.
        images: float32 [B, C, *space], B >= 2 when the network has batch norm.
        seed: of the new weights; the global generators are left as they were.
        randomisation: as `sanity_check`.

    Yields:
        Number of modules redrawn, name of the last one, the copy in evaluation mode. Only one is kept in memory; it
        is the same object each time.

    Raises:
        ConfigError: another randomisation, or no module with a `reset_parameters`.
    """
    if randomisation not in get_args(Randomisation):
        raise ConfigError([f"randomisation={randomisation!r} must be one of {', '.join(get_args(Randomisation))}"])
    randomised = copy.deepcopy(network).eval()
    names = [name for name, module in randomised.named_modules() if _can_be_redrawn(module)][::-1]
    if not names:
        raise ConfigError([f"{type(network).__name__} has no module with weights and a reset_parameters to redraw"])
    generator = np.random.default_rng(seed)
    redrawn: list[nn.Module] = []
    for step, name in enumerate(names, start=1):
        redrawn.append(randomised.get_submodule(name))
        _redraw(redrawn[-1], seed=int(generator.integers(2**31)))
        if randomisation == "cascading" or step == len(names):
            _estimate_statistics(randomised, redrawn, images)
            yield step, name, randomised


def rank_correlations(maps: Tensor, others: Tensor) -> npt.NDArray[np.float64]:
    """Spearman's rank correlation of two sets of maps, image by image, ties sharing their mean rank.

    Args:
        maps: float [B, *space]; pixels that are NaN in either are left out.
        others: as `maps`.

    Returns:
        float64 [B]; NaN where a map is the same everywhere.

    Raises:
        ShapeError: two shapes.
    """
    if maps.shape != others.shape:
        raise ShapeError(f"maps {tuple(maps.shape)} and {tuple(others.shape)} cannot be compared pixel by pixel")
    pairs = zip(maps.flatten(1).double().cpu().numpy(), others.flatten(1).double().cpu().numpy(), strict=True)
    return np.array([_spearman(one, other) for one, other in pairs])


def _spearman(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    known = ~(np.isnan(one) | np.isnan(other))
    ranks = [rankdata(values[known]) for values in (one, other)]
    if not known.any() or any(np.ptp(rank) == 0 for rank in ranks):
        return float("nan")
    return float(np.corrcoef(ranks)[0, 1])


def _can_be_redrawn(module: nn.Module) -> bool:
    owns_weights = next(module.parameters(recurse=False), None) is not None
    return owns_weights and callable(getattr(module, "reset_parameters", None))


def _redraw(module: nn.Module, *, seed: int) -> None:
    devices = sorted({p.device.index for p in module.parameters(recurse=False) if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        module.reset_parameters()  # type: ignore[operator]  # _can_be_redrawn has looked


def _estimate_statistics(network: nn.Module, redrawn: list[nn.Module], images: Tensor) -> None:
    norms = [module for module in redrawn if isinstance(module, _BATCH_NORM)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches, here of one
        norm.train()
    with torch.no_grad():
        network(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
