"""Options that do not go with the samples are refused together, each with what to type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lungdet.data.candidates import CandidateSamples
from lungdet.data.clinical import ClinicalTable
from lungdet.data.intensity import Window
from lungdet.data.mask_samples import MaskSamples
from lungdet.data.mask_targets import MaskTargets
from lungdet.data.nodules import NoduleSamples
from lungdet.data.option_checks import check_options
from lungdet.errors import ConfigError


def check(samples: Any, **options: Any) -> None:
    given: dict[str, Any] = {"extra_negatives": None, "extra_negatives_share": None, "clinical": None}
    check_options(samples, window=Window(), **(given | options))


def masks() -> MaskSamples:
    return MaskSamples(
        whole_slices=True, margin_vox=(0, 1, 1), background_per_scan=1, targets=MaskTargets(), evaluation_batch=1
    )


def test_what_goes_together_passes() -> None:
    check(CandidateSamples(), extra_negatives="a.csv", extra_negatives_share=0.5)
    check(NoduleSamples(), clinical=ClinicalTable(path="clinical.csv"))
    check(masks())


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        check(masks(), extra_negatives=["a.csv"], clinical=ClinicalTable(path=str(Path("clinical.csv"))))
    assert error.value.problems == [
        "data.extra_negatives is for data/samples=candidates, not for MaskSamples; type data.extra_negatives=null",
        "data.clinical is for candidates and nodules, not for MaskSamples; type data.clinical=null",
    ]


def test_a_share_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"extra_negatives_share=0\.5 needs a table .* type data\.extra_negatives=R/"):
        check(CandidateSamples(), extra_negatives_share=0.5)
