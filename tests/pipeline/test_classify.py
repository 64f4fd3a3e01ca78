from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lungdet.errors import ConfigError, RunError, ShapeError
from lungdet.geometry import Geometry
from lungdet.io.scan import Scan
from lungdet.nets.luna import LunaModel
from lungdet.pipeline.classify import CandidateClassifier
from lungdet.pipeline.crops import CropInput

SMALL = CropInput(shape_zyx=(3, 3, 3))


def test_every_point_gets_the_answer_of_its_own_voxel(
    noise_scan: Callable[..., Scan], mean_density: Callable[..., nn.Module]
) -> None:
    turn = Geometry((9, 10, 11), (3.0, -8.0, 40.0), (0.7, 0.8, 2.0), (0.6, -0.8, 0.0, 0.8, 0.6, 0.0, 0.0, 0.0, 1.0))
    scan = noise_scan((9, 10, 11), geometry=turn)
    voxels = np.argwhere(np.ones(scan.hu.shape, bool))
    points = turn.index_to_world(voxels + np.random.default_rng(0).uniform(-0.45, 0.45, voxels.shape))
    for n_classes in (1, 2):
        net = mean_density(-300.0, n_classes)
        logits = CandidateClassifier(nets=(net,), contract=SMALL, precision="fp32").logits(scan, points)
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, (scan.hu.ravel().clip(-1000, 1000) + 300) / 100, atol=1e-5)


def test_the_network_sees_the_window_of_its_contract(
    noise_scan: Callable[..., Scan], mean_density: Callable[..., nn.Module]
) -> None:
    scan = noise_scan((5, 5, 5), sigma=0)
    contract = CropInput(shape_zyx=(1, 1, 1), window_hu=(-1000, 400), scale="unit")
    classifier = CandidateClassifier(nets=(mean_density(0.0),), contract=contract, precision="fp32")
    points = scan.geometry.index_to_world(np.argwhere(np.ones(scan.hu.shape, bool)))
    expected = (scan.hu.ravel().astype(np.float64).clip(-1000, 400) + 1000) / 1400 / 100
    np.testing.assert_allclose(classifier.logits(scan, points), expected, atol=1e-7)


def test_batches_and_the_network_alone_agree(noise_scan: Callable[..., Scan], classifier: LunaModel) -> None:
    scan = noise_scan((20, 24, 22))
    voxels = np.array([[0, 0, 0], [10, 12, 11], [19, 23, 21], [5, 20, 3], [10, 2, 20]])
    points = scan.geometry.index_to_world(voxels)
    contract = CropInput(shape_zyx=(16, 16, 16))
    by_two = CandidateClassifier(nets=(classifier,), contract=contract, batch_size=2, precision="fp32")
    padded = np.pad(scan.hu.clip(-1000, 1000), 16, constant_values=-1000).astype(np.float32)
    crops = [padded[z + 8 : z + 24, y + 8 : y + 24, x + 8 : x + 24] for z, y, x in voxels]
    with torch.no_grad():
        outputs = classifier(torch.from_numpy(np.stack(crops))[:, None])
    np.testing.assert_allclose(by_two.logits(scan, points), (outputs[:, 1] - outputs[:, 0]).numpy(), atol=1e-4)


def test_points_on_the_outer_face_are_taken_to_the_last_voxel(
    noise_scan: Callable[..., Scan], mean_density: Callable[..., nn.Module]
) -> None:
    scan = noise_scan((4, 4, 4))
    net = CandidateClassifier(nets=(mean_density(),), contract=SMALL, precision="fp32")
    points = scan.geometry.index_to_world(np.array([[3.51, 3, 3], [3, 3, 3]]))
    first, second = net.logits(scan, points)
    assert first == second


def test_no_points_no_answers(noise_scan: Callable[..., Scan], classifier: LunaModel) -> None:
    assert CandidateClassifier(nets=(classifier,)).logits(noise_scan((4, 4, 4)), np.empty((0, 3))).shape == (0,)


def test_impossible_classifiers_are_refused(classifier: LunaModel) -> None:
    with pytest.raises(ConfigError, match="classifier needs at least one network"):
        CandidateClassifier(nets=())
    with pytest.raises(ConfigError, match="batch_size=0 of the judge: must be at least 1"):
        CandidateClassifier(nets=(classifier,), batch_size=0, name="judge")
    with pytest.raises(ConfigError, match="precision='fp8'"):
        CandidateClassifier(nets=(classifier,), precision="fp8")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="mean='max'"):
        CandidateClassifier(nets=(classifier,), mean="max")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="flips="):
        CandidateClassifier(nets=(classifier,), flips=("q",))
    with pytest.raises(ShapeError, match="at least 16 voxels along z"):
        CandidateClassifier(nets=(classifier,), contract=CropInput(shape_zyx=(8, 48, 48)))


def test_nan_weights_and_nan_answers_are_errors(noise_scan: Callable[..., Scan], classifier: LunaModel) -> None:
    class DividesByZero(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x[:, :, 0, 0, 0] * 0) / 0

    scan = noise_scan((4, 4, 4))
    net = CandidateClassifier(nets=(DividesByZero(),), contract=SMALL, name="malignancy classifier")
    with pytest.raises(RunError, match="malignancy classifier gives NaN or infinity for 1 of 1 candidates"):
        net.logits(scan, scan.geometry.index_to_world([[1, 1, 1]]))
    torch.nn.init.constant_(classifier.head_linear.weight, float("nan"))
    with pytest.raises(RunError, match=r"head_linear\.weight"):
        CandidateClassifier(nets=(classifier,))


def test_settings_are_ready_for_json(classifier: LunaModel) -> None:
    contract = CropInput(spacing_zyx_mm=(1.0, 1.0, 1.0))
    record = CandidateClassifier(nets=(classifier, classifier), contract=contract, precision="bf16").describe()
    assert json.loads(json.dumps(record)) == record
    assert record["nets"] == ["LunaModel", "LunaModel"]
    assert record["spacing_zyx_mm"] == [1.0, 1.0, 1.0]
    assert record["precision"] == "bf16"
    assert CandidateClassifier(nets=(classifier,)).describe()["spacing_zyx_mm"] is None
