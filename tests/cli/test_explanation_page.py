"""What a reader is told of how explanations came about, and when."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from lungdet.cli.explanation_page import notes, rows_of
from lungdet.explain.methods import GradCam, Occlusion

OTHER = object.__new__(Occlusion)
CAM = object.__new__(GradCam)


def told(
    *cases: tuple[int, float, float], gap: float = math.nan, method: Any = OTHER, **changed: Any
) -> dict[str, tuple[str, str]]:
    """Code -> kind and text, for cases of (label, probability in the table, probability of the true class now)."""
    explained: Any = SimpleNamespace(
        **{"single": None, "has_features": False, "directory": SimpleNamespace(path=Path("runs/a"))} | changed
    )
    chosen = pd.DataFrame([(label, p) for label, p, _ in cases], columns=["label", "probability"])
    shown: Any = [SimpleNamespace(facts={"p_true": p_true, "gap": gap}) for *_, p_true in cases]
    return {found.code: (found.kind, found.text) for found in notes(explained, method, chosen, shown)}


def test_a_plain_run_needs_none() -> None:
    """Of the negative the true class has 1 - 0.25."""
    assert told((1, 0.75, 0.75), (0, 0.25, 0.75)) == {}


def test_small_changes_are_those_of_precision_and_larger_ones_another_checkpoint() -> None:
    assert told((1, 0.75, 0.765)) == {}
    kind, text = told((1, 0.75, 0.75), (0, 0.25, 0.5))["other_checkpoint"]
    assert kind == "warning"
    assert "by up to 0.25: cases were chosen by the answers of another checkpoint" in text
    assert text.endswith("lungdet predict run=a")


@pytest.mark.parametrize(("gap", "said"), [(math.nan, False), (0.1, False), (-0.11, True), (0.5, True)])
def test_attributions_that_do_not_add_up(gap: float, said: bool) -> None:
    found = told((1, 0.75, 0.75), gap=gap)
    assert ("gap" in found) is said
    if said:
        assert f"miss the change of the logit by up to {abs(gap):.2f}; raise explain.n_steps." in found["gap"][1]


@pytest.mark.parametrize(("method", "more"), [(OTHER, False), (CAM, True)])
def test_answers_over_several_views(method: Any, more: bool) -> None:
    kind, text = told((1, 0.75, 0.75), method=method, single=object())["views"]
    assert kind == "note"
    assert ("Grad-CAM looks at the image once" in text) is more


def test_of_a_fused_run_the_image_branch_alone_is_explained() -> None:
    """Its answer is another than that of the table, which is no sign of another checkpoint."""
    assert set(told((1, 0.75, 0.1), gap=0.5, has_features=True)) == {"image_branch"}


def test_rows_are_plain_dicts() -> None:
    assert rows_of(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    assert rows_of(pd.DataFrame({"a": []})) == []
