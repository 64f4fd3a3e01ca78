from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lungdet.io.phantom_images.thorax import Radiograph, draw_anatomy, draw_radiograph

SIZE = (96, 128)


def drawn(agent: str, seed: int, *, difficulty: float = 0.0, patient: int = 0) -> Radiograph:
    anatomy = draw_anatomy(np.random.default_rng(patient))
    return draw_radiograph(anatomy, np.random.default_rng(seed), size_hw=SIZE, agent=agent, difficulty=difficulty)


def test_a_normal_chest_has_dark_lungs_beside_a_bright_spine_above_a_bright_abdomen() -> None:
    mean = np.mean([drawn("", seed, patient=seed).pixels for seed in range(20)], axis=0)
    lungs = (mean[40:55, 30:42], mean[40:55, 90:102])
    spine, abdomen, air = mean[40:55, 60:68], mean[84:94, 40:90], mean[2:8, 12:24]
    for lung in lungs:
        assert lung.mean() < 0.75 * spine.mean()
        assert lung.mean() < 0.75 * abdomen.mean()
    assert air.mean() < 0.5 * min(lung.mean() for lung in lungs)


def test_a_consolidation_lies_in_the_lungs_and_a_normal_chest_has_none() -> None:
    assert not drawn("", 0).lesion.any()
    for seed in range(20):
        lesion = drawn("bacteria", seed, patient=seed).lesion
        assert lesion.any()
        rows, columns = np.nonzero(lesion)
        assert rows.min() > 5
        assert rows.max() < 90
        assert (np.abs(columns - 63.5) < 60).all()


@pytest.mark.parametrize(("difficulty", "least", "most"), [(0.0, 12, 120), (2.0, 3, 60)])
def test_difficulty_makes_it_fainter(difficulty: float, least: float, most: float) -> None:
    """Against the same image without: what is added to the lesion in grey levels."""
    contrasts = []
    for seed in range(12):
        ill = drawn("bacteria", seed, difficulty=difficulty, patient=seed)
        healthy = np.mean([drawn("", other, patient=seed).pixels for other in range(3)], axis=0)
        around = ~ill.lesion
        shift = np.median(ill.pixels[around] - healthy[around])
        contrasts.append((ill.pixels - healthy - shift)[ill.lesion].mean())
    assert least < np.mean(contrasts) < most


def test_images_of_a_patient_are_more_alike_than_those_of_two() -> None:
    def distance(first: int, second: int) -> float:
        a, b = (drawn("", seed, patient=patient).pixels.astype(float) for seed, patient in ((1, first), (2, second)))
        return float(1 - np.corrcoef(a.ravel(), b.ravel())[0, 1])

    same = np.mean([distance(patient, patient) for patient in range(10)])
    other = np.mean([distance(patient, patient + 1) for patient in range(10)])
    assert same < other


def test_every_trait_of_the_anatomy_is_seen() -> None:
    anatomy = draw_anatomy(np.random.default_rng(0))

    def picture(**changes: Any) -> npt.NDArray[np.float64]:
        changed = dataclasses.replace(anatomy, **changes)
        made = draw_radiograph(changed, np.random.default_rng(0), size_hw=SIZE, agent="", difficulty=1.0)
        return made.pixels.astype(float)

    before = picture()
    for field in dataclasses.fields(anatomy):
        value = getattr(anatomy, field.name)
        after = picture(**{field.name: value + 7 if field.name == "texture_seed" else value * 0.8 - 0.01})
        assert np.abs(after - before).mean() > 0.1, field.name
