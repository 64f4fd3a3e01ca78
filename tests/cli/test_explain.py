"""Which way `lungdet explain` asks a classifier, and what the page says when it is not the quickest."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from tests.explain.networks import small_network
from torch import Tensor, nn

from lungdet.cli.explain import make_classifier


def explained(network: nn.Module, *, device: str = "cpu") -> Any:
    """As much of a run as a classifier is made of: three images."""
    images = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    return SimpleNamespace(
        network=network.eval(),
        single=None,
        device=torch.device(device),
        predictions=pd.DataFrame({"row": [2, 0, 1]}),
        datamodule=SimpleNamespace(evaluation_batch=lambda rows: {"image": images[rows.tolist()]}),
    )


class Looks(nn.Module):
    """Does something else where an image is bright, which can neither be traced nor taken apart."""

    def forward(self, images: Tensor) -> Tensor:
        factor = 2.0 if float(images.mean()) > 0.5 else 1.0
        return images.flatten(1).sum(1, keepdim=True) * factor


class Strided(nn.Module):
    """Looks at how a tensor lies in memory: can be traced, not taken apart."""

    def forward(self, images: Tensor) -> Tensor:
        return images.contiguous().as_strided((len(images), 4), (256, 1)).sum(1, keepdim=True)


def test_the_quickest_ways_that_answer_the_same() -> None:
    classifier, notes = make_classifier(explained(small_network(2)), batch_size=4, accelerate=True)
    assert classifier.windows is not None
    assert classifier.quick is not None
    assert notes == []


@pytest.mark.parametrize(("accelerate", "device"), [(False, "cpu"), (True, "cuda")])
def test_the_network_itself(accelerate: bool, device: str) -> None:
    classifier, notes = make_classifier(explained(small_network(2), device=device), batch_size=4, accelerate=accelerate)
    assert classifier.windows is None
    assert classifier.quick is None
    assert notes == []


def test_what_cannot_be_done_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        classifier, notes = make_classifier(explained(Strided()), batch_size=4, accelerate=True)
    assert classifier.windows is None
    assert classifier.quick is not None
    assert len(notes) == 1
    assert "Whole images were occluded, not windows of them: Strided cannot go through windows" in notes[0].text
    assert notes[0].text in caplog.text
    classifier, notes = make_classifier(explained(Looks()), batch_size=4, accelerate=True)
    assert classifier.windows is None
    assert "depends on the values in the image" in notes[0].text
