"""The whole-scan benchmark: hand-set networks do what they say, all contenders search, other detections end it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from lungdet.bench import detect as module
from lungdet.bench.drawn.networks import contrast_segmenter, random_classifier
from lungdet.bench.drawn.scans import Collection, scans_for
from lungdet.errors import ConfigError, RunError
from lungdet.io.scan import read_scan
from lungdet.pipeline.lungs import find_lungs

SMALL = Collection(1, (40, 96, 96), (0.97, 0.97, 2.5))


@pytest.fixture(scope="module")
def small_scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (path,) = scans_for(tmp_path_factory.mktemp("scans"), SMALL).values()
    return path


def test_the_segmenter_compares_pixels_with_their_surroundings() -> None:
    """Against scipy: mean of 3 x 3 pixels minus two means of 3 x 3 cells of 4 x 4 pixels; positive, averaged again."""
    hu = np.random.default_rng(0).uniform(-1000, 1000, (7, 48, 64)).astype(np.float32)
    with torch.inference_mode():
        logit = contrast_segmenter(300.0)(torch.from_numpy(hu)[None])[0, 0].numpy()
    above_air = hu[3].astype(np.float64) + 1000
    cells = above_air.reshape(12, 4, 16, 4).mean(axis=(1, 3))
    for _ in range(2):
        cells = ndimage.uniform_filter(cells, 3, mode="constant")
    surroundings = cells.repeat(4, axis=0).repeat(4, axis=1)
    contrast = ndimage.uniform_filter(above_air, 3, mode="constant") - surroundings
    contrast = ndimage.uniform_filter(contrast.clip(0), 3, mode="constant")
    np.testing.assert_allclose(logit, (contrast - 300) / 20, atol=0.02)
    assert (logit > 0).any()


def test_networks_are_the_same_each_time_and_leave_the_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    first, second, other = (random_classifier(seed=seed) for seed in (1, 1, 2))
    segmenter = contrast_segmenter(500.0)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first.head_linear.weight, second.head_linear.weight)
    assert not torch.equal(first.head_linear.weight, other.head_linear.weight)
    # The channels that only cost time are not empty.
    assert segmenter.unet.down_path[1].block[0].weight[1:].std() > 0.01  # type: ignore[index, union-attr]


def test_measures_all_contenders_and_finds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "QUICK", SMALL)
    monkeypatch.setattr(module, "in_new_process", lambda function, *given: (function(*given), 100.0 + len(given[0])))
    with caplog.at_level("INFO"):
        lines = module.measure(quick=True, folder=tmp_path)
    sections = list(dict.fromkeys(line.section for line in lines))
    assert sections == [f"whole scan, 40 x 96 x 96{rest}" for rest in _RESTS]
    whole = [line for line in lines if line.section == sections[0]]
    assert [line.name for line in whole][:3] == [module.PLAIN, module.BOOK, module.FP32]
    assert {line.baseline for line in lines} == {module.PLAIN}
    assert [line.peak_mb for line in whole] == [100.0 + len(line.name) for line in whole]
    assert all(0 < line.low <= line.high for line in lines)
    assert "lungs" in caplog.text


_RESTS = ("", ", segmentation alone", ", classification alone")


def test_there_is_something_to_find(small_scan: Path) -> None:
    lungs = find_lungs(read_scan(small_scan))
    assert lungs is not None
    outcome = module.search(module.FP32, small_scan)
    assert len(outcome.probability) > 3
    assert outcome.probability.std(axis=0).min() > 1e-3
    assert set(outcome.stages) >= {"lungs", "segment", "group", "classify", "malignancy"}
    assert sum(outcome.stages.values()) <= outcome.seconds


def test_an_unknown_contender_is_refused(small_scan: Path) -> None:
    with pytest.raises(ConfigError, match="contender 'other'"):
        module.search("other", small_scan)


OUTCOME = module.Outcome(1.0, {}, np.zeros((2, 3)), np.full((2, 2), 0.5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda o: replace(o, center_xyz_mm=o.center_xyz_mm[:1], probability=o.probability[:1]), "finds 1 candidates"),
        (lambda o: replace(o, center_xyz_mm=o.center_xyz_mm + 1e-6), "1e-06 mm apart"),
        (lambda o: replace(o, probability=o.probability + 1e-5), "differ by up to 1e-05"),
        (lambda o: replace(o, probability=o.probability * np.nan), "differ by up to nan"),
    ],
)
def test_other_detections_end_it(change: Callable[[module.Outcome], module.Outcome], message: str) -> None:
    module.require_same(OUTCOME, OUTCOME)
    with pytest.raises(RunError, match=message):
        module.require_same(change(OUTCOME), OUTCOME)


def test_finding_nothing_is_no_agreement() -> None:
    nothing = module.Outcome(1.0, {}, np.empty((0, 3)), np.empty((0, 2)))
    with pytest.raises(RunError, match="finds 0 candidates"):
        module.require_same(nothing, nothing)
