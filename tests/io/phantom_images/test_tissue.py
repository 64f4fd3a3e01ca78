from __future__ import annotations

import numpy as np
import pytest

from lungdet.io.phantom_images.tissue import SlideStain, draw_patch, draw_slide


@pytest.mark.parametrize("difficulty", [0.0, 1.0, 2.0])
def test_the_middle_decides_the_label_at_any_difficulty(difficulty: float) -> None:
    random = np.random.default_rng(0)
    slide = draw_slide(random)
    for number in range(40):
        wanted = number % 2 == 1
        patch = draw_patch(slide, random, tumor=wanted, difficulty=difficulty)
        assert patch.is_tumor == wanted


def test_tumour_outside_of_the_middle_comes_with_difficulty() -> None:
    def share(difficulty: float) -> float:
        random = np.random.default_rng(1)
        slide = draw_slide(random)
        return float(np.mean([draw_patch(slide, random, tumor=False, difficulty=difficulty).lesion.any()
                              for _ in range(60)]))  # fmt: skip

    assert share(0.0) == 0
    assert 0.1 < share(2.0) < 0.5


def test_nuclei_have_the_colour_of_haematoxylin_and_the_ground_that_of_eosin() -> None:
    """A slide whose stains each darken one channel alone: red the nuclei, blue the ground."""
    vectors = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    slide = SlideStain(vectors, np.ones(2), blur_sd=0.5)
    patch = draw_patch(slide, np.random.default_rng(3), tumor=True, difficulty=0.0)
    red, green, blue = (patch.pixels[..., channel].astype(float) for channel in range(3))
    assert green.min() > 225  # unstained: glass
    assert red[patch.lesion].min() < 60  # nucleoli and rims
    assert blue.min() > 80  # the ground is never that dark
    assert red.std() > 2 * blue[patch.lesion].std()
