from __future__ import annotations

import json

import pytest

from lungdet.errors import ConfigError
from lungdet.nets.luna import LunaModel
from lungdet.pipeline.blobs import BlobSource
from lungdet.pipeline.classify import CandidateClassifier
from lungdet.pipeline.recipe import Recipe


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"suppression_mm": -1.0}, "suppression_mm=-1.0 must be a finite number >= 0"),
        ({"suppression_mm": float("nan")}, "suppression_mm=nan"),
        ({"nodule_threshold": 1.01}, r"nodule_threshold=1.01 must lie in \[0, 1\]"),
        ({"patient_rule": "mean"}, "patient_rule='mean': allowed are 'maximum', 'noisy_or'"),
    ],
)
def test_impossible_recipes_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Recipe(source=BlobSource(), **arguments)  # type: ignore[arg-type]


def test_settings_of_every_step_are_ready_for_json(classifier: LunaModel) -> None:
    bare = Recipe(source=BlobSource()).describe()
    assert bare["classifier"] is None
    assert bare["malignancy"] is None
    judge = CandidateClassifier(nets=(classifier,))
    full = Recipe(source=BlobSource(), classifier=judge, malignancy=judge, patient_rule="noisy_or").describe()
    assert json.loads(json.dumps(full)) == full
    assert full["classifier"] == full["malignancy"] == judge.describe()
    assert full["source"]["kind"] == "blobs"
