"""Options of a collection that do not go with the kind of sample it gives; asked before anything is opened."""

from __future__ import annotations

from collections.abc import Sequence

from lungdet.data.candidates import CandidateSamples
from lungdet.data.clinical import ClinicalTable
from lungdet.data.intensity import Window
from lungdet.data.sample_kind import SampleKind
from lungdet.errors import ConfigError


def check_options(
    samples: SampleKind,
    *,
    window: Window,
    extra_negatives: str | Sequence[str] | None,
    extra_negatives_share: float | None,
    clinical: ClinicalTable | None,
) -> None:
    """Refuse what cannot be.

    Args:
        samples: the kind of sample.
        window: of its images.
        extra_negatives: tables of further negatives, for candidates only.
        extra_negatives_share: how much of the negatives they are to be; nothing without them.
        clinical: a table of patients, for samples with a class only.

    Raises:
        ConfigError: with all problems.
    """
    problems = []
    kind = type(samples).__name__
    if extra_negatives and not isinstance(samples, CandidateSamples):
        problems.append(
            f"data.extra_negatives is for data/samples=candidates, not for {kind}; type data.extra_negatives=null"
        )
    if extra_negatives_share is not None and not extra_negatives:
        problems.append(
            f"data.extra_negatives_share={extra_negatives_share} needs a table in data.extra_negatives: mine one "
            "(lungdet mine run=R) and type data.extra_negatives=R/mined.csv"
        )
    if clinical is not None and samples.spec((1, 1, 1), window=window).target != "class":
        problems.append(f"data.clinical is for candidates and nodules, not for {kind}; type data.clinical=null")
    if problems:
        raise ConfigError(problems)
