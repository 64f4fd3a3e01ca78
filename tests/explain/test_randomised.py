from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from tests.explain.networks import small_network
from torch import Tensor, nn

from lungdet.errors import ConfigError, ShapeError
from lungdet.explain.fills import ConstantFill
from lungdet.explain.gradients import integrated_gradients
from lungdet.explain.randomised import randomised_networks, rank_correlations, sanity_check
from lungdet.explain.scores import class_logit
from lungdet.losses.classification import binary_logit

IMAGES = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
CLASSES = torch.tensor([1, 0, 1, 0])


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name.split(".")[0] for name, tensor in before.items() if not torch.equal(tensor, after[name])}


def test_cascading_redraws_from_the_output_downwards() -> None:
    network = small_network(2)
    before, random_state = state(network), torch.get_rng_state()
    steps = [
        (step, name, changed(before, state(randomised)), randomised.training)
        for step, name, randomised in randomised_networks(network, images=IMAGES, seed=3)
    ]
    assert steps == [
        (1, "8", {"8"}, False),
        (2, "3", {"8", "3"}, False),
        (3, "1", {"8", "3", "1"}, False),
        (4, "0", {"8", "3", "1", "0"}, False),
    ]
    assert not changed(before, state(network))
    assert torch.equal(random_state, torch.get_rng_state())


def test_all_at_once_is_the_end_of_the_cascade_and_follows_the_seed() -> None:
    network = small_network(3)
    volumes = torch.rand(2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    *_, (_, _, last) = randomised_networks(network, images=volumes, seed=3)
    [(step, name, once)] = randomised_networks(network, images=volumes, seed=3, randomisation="all")
    [(_, _, other)] = randomised_networks(network, images=volumes, seed=4, randomisation="all")
    assert (step, name) == (4, "0")
    assert all(torch.equal(tensor, state(once)[key]) for key, tensor in state(last).items())
    assert changed(state(once), state(other)) == {"0", "1", "3", "8"}


def test_batch_norm_takes_its_statistics_from_the_images() -> None:
    [(_, _, randomised)] = randomised_networks(small_network(2), images=IMAGES, seed=0, randomisation="all")
    assert isinstance(randomised, nn.Sequential)
    norm = randomised[1]
    assert isinstance(norm, nn.BatchNorm2d)
    inputs = randomised[0](IMAGES)
    torch.testing.assert_close(norm.running_mean, inputs.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, inputs.var((0, 2, 3)))
    assert (norm.momentum, norm.training) == (0.1, False)


def test_an_explanation_that_ignores_the_network_is_found_out() -> None:
    def edges(network: nn.Module) -> Tensor:
        return IMAGES[:, 0].diff(dim=1).abs()

    def attributions(network: nn.Module) -> Tensor:
        logit = class_logit(network, binary_logit)
        return integrated_gradients(
            logit, IMAGES, classes=CLASSES, fill=ConstantFill((0.5,)), n_steps=8, batch_size=64
        ).attribution

    network = small_network(2)
    blind = sanity_check(network, edges, images=IMAGES, seed=0)
    assert blind.columns.tolist() == ["step", "module", "image", "rank_correlation"]
    assert (len(blind), blind["module"].unique().tolist()) == (16, ["8", "3", "1", "0"])
    assert blind["rank_correlation"].tolist() == pytest.approx([1.0] * 16)
    seeing = sanity_check(network, attributions, images=IMAGES, seed=0, randomisation="all")
    assert seeing["image"].tolist() == [0, 1, 2, 3]
    assert seeing["rank_correlation"].abs().mean() < 0.5


def test_rank_correlation_is_that_of_scipy_with_ties() -> None:
    generator = np.random.default_rng(0)
    one, other = generator.integers(0, 6, (2, 3, 5, 4, 3)).astype(np.float64)
    ours = rank_correlations(torch.from_numpy(one), torch.from_numpy(other))
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(one, other, strict=True)]
    assert ours.tolist() == pytest.approx(expected)


def test_unknown_pixels_are_left_out_and_flat_maps_have_no_order() -> None:
    one = torch.tensor([[[1.0, 2.0, 3.0, math.nan]], [[1.0, 1.0, 1.0, 1.0]]])
    other = torch.tensor([[[4.0, 5.0, 6.0, -9.0]], [[1.0, 2.0, 3.0, 4.0]]])
    assert rank_correlations(one, other).tolist() == pytest.approx([1.0, math.nan], nan_ok=True)
    assert math.isnan(rank_correlations(torch.full((1, 2, 2), math.nan), torch.ones(1, 2, 2))[0])
    with pytest.raises(ShapeError, match="pixel by pixel"):
        rank_correlations(one, other[:1])


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'some' must be one of cascading, all"):
        next(randomised_networks(small_network(2), images=IMAGES, seed=0, randomisation="some"))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no module with weights"):
        next(randomised_networks(nn.Sequential(nn.ReLU()), images=IMAGES, seed=0))
