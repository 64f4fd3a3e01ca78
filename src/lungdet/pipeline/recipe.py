"""A recipe: the steps of a detection run and their settings, put together from parts that work alone too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lungdet.errors import ConfigError
from lungdet.pipeline.classify import CandidateClassifier
from lungdet.pipeline.inference import check_choice
from lungdet.pipeline.patient import PatientRule
from lungdet.pipeline.sources import CandidateSource


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What `detect` does with a scan.

    Args:
        source: finds candidates in the lungs: `SegmentationSource` or `BlobSource`.
        classifier: nodule or not; None leaves the source's own score.
        malignancy: malignant or benign, asked for every candidate that is reported; None leaves it out.
        suppression_mm: of candidates nearer to each other than this the most probable stays.
        patient_rule: how the findings make one number.
        nodule_threshold: probability (calibrated where the classifier is) from which a candidate counts as a nodule in
            the patient's answer; the table keeps all.

    Raises:
        ConfigError: a length that is negative or not finite, a threshold outside [0, 1], an unknown rule.
    """

    source: CandidateSource
    classifier: CandidateClassifier | None = None
    malignancy: CandidateClassifier | None = None
    suppression_mm: float = 5.0
    patient_rule: PatientRule = "maximum"
    nodule_threshold: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.suppression_mm < np.inf:
            raise ConfigError([f"suppression_mm={self.suppression_mm} must be a finite number >= 0"])
        if not 0 <= self.nodule_threshold <= 1:
            raise ConfigError([f"nodule_threshold={self.nodule_threshold} must lie in [0, 1]"])
        check_choice("patient_rule", self.patient_rule, PatientRule)

    def describe(self) -> dict[str, Any]:
        """The settings of every step, ready for JSON."""
        return {
            "pipeline": "default",
            "source": self.source.describe(),
            "classifier": None if self.classifier is None else self.classifier.describe(),
            "malignancy": None if self.malignancy is None else self.malignancy.describe(),
            "suppression_mm": self.suppression_mm,
            "patient_rule": self.patient_rule,
            "nodule_threshold": self.nodule_threshold,
        }
