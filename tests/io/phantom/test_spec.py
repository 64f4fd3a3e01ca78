from __future__ import annotations

import json

import numpy as np
import pytest

from lungdet.errors import ConfigError
from lungdet.io.phantom.spec import PhantomSpec, random_stream


def test_difficulty_turns_every_knob_the_harder_way() -> None:
    easy, default, hard = (PhantomSpec(difficulty=d).knobs for d in (0.0, 1.0, 2.0))
    assert easy.nodule_contrast > default.nodule_contrast > hard.nodule_contrast
    assert easy.noise_hu < default.noise_hu < hard.noise_hu
    assert easy.lookalike_fraction < default.lookalike_fraction < hard.lookalike_fraction
    assert easy.lookalike_elongation > default.lookalike_elongation > hard.lookalike_elongation


def test_a_knob_that_is_given_wins_over_difficulty() -> None:
    knobs = PhantomSpec(difficulty=2.0, noise_hu=3.0).knobs
    assert knobs.noise_hu == 3.0
    assert knobs.nodule_contrast == PhantomSpec(difficulty=2.0).knobs.nodule_contrast


def test_round_trip_through_json() -> None:
    spec = PhantomSpec(n_scans=3, seed=9, shape_zyx=(48, 64, 64), noise_hu=10.0)
    assert PhantomSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_lists_and_whole_numbers_are_the_same_cohort() -> None:
    loose = PhantomSpec(shape_zyx=[48, 64, 64], difficulty=1, noise_hu=20)  # type: ignore[arg-type]
    strict = PhantomSpec(shape_zyx=(48, 64, 64), difficulty=1.0, noise_hu=20.0)
    assert loose == strict
    assert loose.fingerprint == strict.fingerprint


@pytest.mark.parametrize("change", [{"seed": 1}, {"n_scans": 25}, {"difficulty": 0.9}, {"noise_hu": 28.0}])
def test_fingerprint_follows_every_change(change: dict[str, float]) -> None:
    assert PhantomSpec(**change).fingerprint != PhantomSpec().fingerprint  # type: ignore[arg-type]


def test_all_problems_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        PhantomSpec(
            n_scans=6, difficulty=3.0, shape_zyx=(16, 64, 64), candidates_per_scan=10, patients_with_two_series=4
        )
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "difficulty", "candidates_per_scan", "shape_zyx", "patients_with_two_series",
    ]  # fmt: skip
    assert "3.0 is not between 0.0 and 2.0" in str(caught.value)
    assert "4 need 8 scans, n_scans is 6" in str(caught.value)


def test_streams_of_different_keys_are_independent_and_repeatable() -> None:
    spec = PhantomSpec()
    first, again, other = (random_stream(spec, *key).integers(2**62, size=4) for key in ((2, 7), (2, 7), (2, 8)))
    np.testing.assert_array_equal(first, again)
    assert not np.any(first == other)
