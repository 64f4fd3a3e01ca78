from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from lungdet.io.phantom.readers import draw_readings, two_readers_4
from lungdet.io.phantom.traits import MARGINS, TEXTURES, Traits, draw_traits, malignancy_logit


@pytest.fixture(scope="module")
def sample() -> list[Traits]:
    rng = np.random.default_rng(0)
    return [draw_traits(rng, largest_mm=32.3) for _ in range(6000)]


def test_diameters_are_those_of_luna16(sample: list[Traits]) -> None:
    diameters = np.array([traits.diameter_mm for traits in sample])
    shares = np.histogram(diameters, [3, 6, 10, 20, 30, 40])[0] / len(sample)
    np.testing.assert_allclose(shares, np.array([502, 403, 231, 48, 2]) / 1186, atol=0.015)
    assert np.median(diameters) == pytest.approx(6.43, abs=0.25)
    assert 3.25 <= diameters.min() < diameters.max() <= 32.3


def test_the_largest_diameter_cuts_the_distribution_off() -> None:
    rng = np.random.default_rng(1)
    diameters = [draw_traits(rng, largest_mm=14.0).diameter_mm for _ in range(500)]
    assert max(diameters) <= 14.0 + 1e-9
    assert np.median(diameters) == pytest.approx(6.0, abs=0.5)


def test_every_kind_occurs_and_cavities_need_room(sample: list[Traits]) -> None:
    assert {traits.texture for traits in sample} == set(TEXTURES)
    assert {traits.margin for traits in sample} == set(MARGINS)
    assert {traits.attachment for traits in sample} == {"isolated", "vessel", "pleura"}
    assert min(traits.diameter_mm for traits in sample if traits.texture == "cavitary") >= 8
    assert all(traits.texture == "solid" and traits.margin == "smooth" for traits in sample if traits.calcified)
    assert 0.03 < np.mean([traits.calcified for traits in sample]) < 0.10


@pytest.mark.parametrize("label", ["truth", "two_readers_4"])
def test_diameter_alone_is_not_enough(sample: list[Traits], label: str) -> None:
    rng = np.random.default_rng(2)
    malignant = np.array([t.is_malignant if label == "truth" else two_readers_4(draw_readings(rng, t)) for t in sample])
    log_diameter = np.log([t.diameter_mm for t in sample])
    columns = [[t.texture == name for t in sample] for name in TEXTURES[1:]]
    columns += [[t.margin == name for t in sample] for name in MARGINS[1:]]
    everything = np.column_stack([log_diameter, *columns]).astype(float)
    half = len(sample) // 2
    model = LogisticRegression().fit(everything[:half], malignant[:half])
    alone = roc_auc_score(malignant[half:], log_diameter[half:])
    together = roc_auc_score(malignant[half:], model.predict_proba(everything[half:])[:, 1])
    assert 0.80 <= alone <= 0.88
    assert together > alone + 0.05
    assert 0.25 < malignant.mean() < 0.45  # LUNA16: 0.32


def test_malignancy_logit_by_hand() -> None:
    def logit(diameter: float = 7.0, texture: str = "solid", margin: str = "smooth", calcified: bool = False) -> float:
        return malignancy_logit(diameter, texture, margin, calcified=calcified)  # type: ignore[arg-type]

    assert logit(margin="spiculated") > logit(margin="lobulated") > logit()
    assert logit(texture="part_solid") > logit() > logit(texture="ground_glass")
    assert logit(14.0) - logit(7.0) == pytest.approx(3.7 * np.log(2))
    assert logit(calcified=True) < logit() - 3


def test_truth_is_the_suspicion_above_zero(sample: list[Traits]) -> None:
    assert all(traits.is_malignant == (traits.suspicion > 0) for traits in sample)
    unseen = np.array([traits.suspicion - traits.malignancy_logit for traits in sample])
    assert abs(unseen.mean()) < 0.1
    assert unseen.std() > 0.5
