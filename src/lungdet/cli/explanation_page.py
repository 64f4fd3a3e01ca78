"""What `lungdet explain` puts on its page: cases with their pictures, what a reader has to know, all estimates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

from lungdet.errors import LungdetError

if TYPE_CHECKING:
    import pandas as pd

    from lungdet.cli.explained_run import ExplainedRun
    from lungdet.evaluation.results import Finding
    from lungdet.explain.methods import Method
    from lungdet.explanations.faithfulness import FaithfulnessChoice
    from lungdet.explanations.page import CaseOnPage, Explanations
    from lungdet.explanations.pictures import HeatMapChoice
    from lungdet.explanations.study import ShownCase

# Of the network's own answer and of predictions.parquet, which mixed precision and other batches change a little.
_LARGEST_CHANGE = 0.02


def on_page(explained: ExplainedRun, row: dict[str, Any], shown: ShownCase, heat_map: HeatMapChoice) -> CaseOnPage:
    """A case with its pictures, or why it has none."""
    from lungdet.data.ct import CtDataModule
    from lungdet.explanations.page import CaseOnPage
    from lungdet.explanations.pictures import image_panels, volume_panels

    try:
        if isinstance(explained.datamodule, CtDataModule):
            record = explained.datamodule.records.iloc[row["row"]]
            hu, spacing_zyx_mm, direction = explained.datamodule.load_crop(record)
            panels = volume_panels(
                hu, shown.heat, shown.outlined, spacing_zyx_mm=spacing_zyx_mm, direction=direction, choice=heat_map
            )
        else:
            image = explained.case(row["row"]).image.cpu().numpy()
            panels = image_panels(image, shown.heat, shown.outlined, choice=heat_map)
    except LungdetError as error:
        return CaseOnPage(row, shown, (), problem=str(error))
    return CaseOnPage(row, shown, panels)


def notes(explained: ExplainedRun, method: Method, chosen: pd.DataFrame, shown: list[ShownCase]) -> list[Finding]:
    """What a reader has to know of how these explanations came about."""
    from lungdet.evaluation.results import Finding
    from lungdet.explain.methods import GradCam

    found = []
    if explained.single is not None:
        views = "Answers of this run are means over several views of an image, and so are those asked for here."
        if isinstance(method, GradCam):
            views += " Grad-CAM looks at the image once, as it lies; drops and curves are of the whole answer."
        found.append(Finding("note", "views", views))
    if explained.has_features:
        found.append(
            Finding(
                "note",
                "image_branch",
                "This run fuses the image with clinical features: the image branch alone is explained, and p_true is "
                "its answer.",
            )
        )
        return found
    p_true = [row["probability"] if row["label"] else 1 - row["probability"] for row in rows_of(chosen)]
    change = max(abs(case.facts["p_true"] - p) for case, p in zip(shown, p_true, strict=True))
    if change > _LARGEST_CHANGE:
        found.append(
            Finding(
                "warning",
                "other_checkpoint",
                f"The network answers otherwise than predictions.parquet says, by up to {change:.2f}: cases were "
                "chosen by the answers of another checkpoint. Score again: lungdet predict "
                f"run={explained.directory.path.name}",
            )
        )
    gaps = [abs(case.facts["gap"]) for case in shown if not math.isnan(case.facts["gap"])]
    if gaps and max(gaps) > 0.1:
        found.append(
            Finding(
                "warning",
                "gap",
                f"Integrated gradients miss the change of the logit by up to {max(gaps):.2f}; raise explain.n_steps.",
            )
        )
    return found


def summarise(
    explained: ExplainedRun,
    method: Method,
    cases: list[CaseOnPage],
    *,
    measured: pd.DataFrame,
    randomised: tuple[pd.DataFrame, str],
    faithfulness: FaithfulnessChoice,
    notes: list[Finding],
    settings: dict[str, Any],
    n_bars: int,
) -> Explanations:
    """Everything that the page says."""
    from lungdet.evaluation.wording import wording_of
    from lungdet.explanations.faithfulness import deletion_estimates, target_estimates
    from lungdet.explanations.page import Explanations

    drawn = {"n_resamples": faithfulness.n_resamples, "seed": faithfulness.seed}
    classes = explained.datamodule.classes
    wording = wording_of(explained.directory.read_provenance())
    return Explanations(
        title=explained.directory.path.name,
        method=method.name,
        unit=method.unit,
        classes=classes,
        item=wording.item,
        items=wording.items,
        cases=cases,
        measured=measured,
        deletion=deletion_estimates(measured, classes=classes, **drawn) if len(measured) else [],
        on_target=target_estimates(measured, **drawn) if len(measured) else None,
        randomised=randomised[0],
        randomised_because=randomised[1],
        notes=notes,
        provenance={**explained.facts, "settings": settings},
        n_bars=n_bars,
    )


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as dicts of plain values."""
    return cast("list[dict[str, Any]]", table.to_dict("records"))
