"""The occlusion benchmark: every contender gives the same drops, and one that does not is found out."""

from __future__ import annotations

import pytest
from tests.explain.networks import small_network
from torch import Tensor, nn

from lungdet.bench import explain as module
from lungdet.errors import RunError


@pytest.mark.parametrize("shape", [(24, 24), (8, 12, 12)], ids=["2-D", "3-D"])
def test_all_contenders_are_timed(shape: tuple[int, ...]) -> None:
    images = module.smooth_noise(shape, n=2)
    assert images.shape == (2, 1, *shape)
    assert (float(images.min()), float(images.max())) == (0, 1)
    rates = module.occlusion_rates(small_network(len(shape)), images, rounds=2)
    size = 4 if len(shape) == 2 else 16
    assert list(rates) == [module.ONE_BY_ONE, f"batches of {size}", "windows, batches of 16"]
    assert all(len(found) == 2 and min(found) > 0 for found in rates.values())


def test_answers_that_depend_on_the_batch_are_found_out() -> None:
    class Crowded(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            means: Tensor = images.flatten(1).mean(1, keepdim=True)
            return means + means.mean()

    with pytest.raises(RunError, match="windows of Crowded give probabilities that differ"):
        module.occlusion_rates(Crowded().eval(), module.smooth_noise((16, 16), n=1), rounds=1)


def test_drops_that_are_not_equal_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = module.in_batches
    monkeypatch.setattr(module, "in_batches", lambda *given: exact(*given) + 2e-5)
    with pytest.raises(RunError, match="drops of 'batches of 4' differ by 2e-05 from"):
        module.occlusion_rates(small_network(2), module.smooth_noise((16, 16), n=1), rounds=1)
