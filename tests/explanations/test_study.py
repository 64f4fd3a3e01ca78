from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.explain.networks import small_network
from tests.explanations.conftest import study_of

from lungdet.errors import ConfigError
from lungdet.explain.methods import GradCam
from lungdet.explanations.case_store import CaseStore
from lungdet.explanations.study import Case, CurveChoice, ShownCase, Study

HIGH = 1 / (1 + math.exp(-2))


def test_a_case_by_hand(study: Study, cases: list[Case]) -> None:
    """The first of four parts holds everything: p falls from sigmoid(2) to 0.5 when it goes, and at no other step."""
    facts = study.measure(cases[0])
    assert facts["p_true"] == pytest.approx(HIGH)
    assert facts["n_regions"] == 4
    assert facts["most_first"] == pytest.approx(0.5 + (HIGH - 0.5) / 8)
    assert facts["least_first"] == pytest.approx(HIGH - (HIGH - 0.5) / 8)
    assert facts["most_first"] <= facts["random"] <= facts["least_first"]
    assert facts["target_share"] == pytest.approx(1.0)
    assert facts["target_area"] == 0.5
    assert math.isnan(facts["gap"])
    for_zero = study.measure(cases[1])
    assert for_zero["p_true"] == pytest.approx(1 - HIGH)
    assert for_zero["most_first"] == pytest.approx(1 - facts["least_first"])
    assert math.isnan(for_zero["target_share"])


def test_the_control_is_the_mean_of_seeded_random_orders(study: Study, cases: list[Case]) -> None:
    again = dataclasses.replace(study, curves=CurveChoice(n_steps=None, n_random=2, seed=1))
    areas = {study.measure(dataclasses.replace(cases[0], row=row))["random"] for row in range(8)}
    assert len(areas) > 1, "every case has its own order"
    assert study.measure(cases[0]) == pytest.approx(study.measure(cases[0]), nan_ok=True)
    assert {again.measure(dataclasses.replace(cases[0], row=row))["random"] for row in range(8)} != areas


def test_what_is_shown_of_a_case(study: Study, cases: list[Case]) -> None:
    shown = study.show(cases[0])
    measured = study.measure(cases[0])
    assert {name: shown.facts[name] for name in measured} == pytest.approx(measured, nan_ok=True)
    assert shown.facts["insertion_most_first"] == pytest.approx(measured["least_first"])
    assert shown.facts["agreement_with_drops"] == pytest.approx(1)
    assert shown.regions["name"].tolist()[-1] == "top left"
    assert shown.regions["drop"].tolist() == pytest.approx([0, 0, 0, HIGH - 0.5])
    assert set(shown.curves["change"]) == {"deletion", "insertion"}
    assert set(shown.curves["order"]) == {"most_first", "least_first", "random_1", "random_2"}
    assert len(shown.curves) == 2 * 4 * 5
    assert shown.heat[:4, :4].min() == pytest.approx(HIGH - 0.5)
    assert shown.outlined.shape == (4, 8, 8)
    assert shown.outlined[0, :4, :4].all()
    assert (shown.segments == -1).all()


def test_a_shown_case_comes_back_from_its_file(study: Study, cases: list[Case], tmp_path: Path) -> None:
    shown = study.show(cases[0])
    store = CaseStore(tmp_path, key={})
    record, arrays = shown.to_parts()
    store.write("x", record, **arrays)
    there = store.read("x")
    assert there is not None
    again = ShownCase.of_parts(*there)
    assert again.facts == pytest.approx(shown.facts, nan_ok=True)
    assert again.regions.equals(shown.regions)
    assert again.curves.equals(shown.curves)
    assert np.array_equal(again.heat, shown.heat)


def test_maps_of_another_network(study: Study, cases: list[Case]) -> None:
    images, labels = torch.stack([case.image for case in cases]), torch.tensor([1, 0])
    own = study.maps(study.classifier.network, images, labels)
    assert own.shape == (2, 8, 8)
    assert torch.equal(own[0], torch.from_numpy(study.show(cases[0]).heat))
    assert not torch.allclose(study.maps(small_network(2), images, labels), own)


def test_gradients_get_drops_for_their_table(cases: list[Case]) -> None:
    network = small_network(2)
    by_cam = dataclasses.replace(
        study_of(network),
        method=GradCam(name="cam", regions=study_of(network).method.regions, fill=study_of(network).fill),
    )
    image = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0))
    shown = by_cam.show(Case(0, image, 1))
    expected = study_of(network).show(Case(0, image, 1)).regions.sort_values("region")
    assert shown.regions.sort_values("region")["drop"].tolist() == pytest.approx(expected["drop"].tolist())
    assert shown.regions["importance"].is_monotonic_increasing
    assert -1 <= shown.facts["agreement_with_drops"] <= 1


@pytest.mark.parametrize("choice", [{"n_steps": 0}, {"n_random": 0}])
def test_curves_out_of_range(choice: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="must be at least 1; 20 and 3 are usual"):
        CurveChoice(**choice)
