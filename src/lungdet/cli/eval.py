"""Numbers, intervals, curves and the HTML report of a run, from its predictions table alone."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig, OmegaConf

from lungdet.cli.application import launch, with_absolute_paths
from lungdet.errors import LungdetError

if TYPE_CHECKING:
    import pandas as pd

    from lungdet.data.collection_data import CollectionData
    from lungdet.evaluation.calibration import RunCalibration
    from lungdet.evaluation.shown import PictureLoader
    from lungdet.metrics.calibrators import CalibrationMethod
    from lungdet.training.run_directory import RunDirectory

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Evaluate one run directory."""
    from lungdet.config import check_config
    from lungdet.training.run_directory import find_run

    cfg = with_absolute_paths(cfg)
    check_config(cfg, root="eval")
    detections = detection_run(cfg.run, Path(cfg.paths.root))
    if detections is not None:
        from lungdet.cli.detection_evaluation import evaluate_again

        evaluate_again(detections)
        return
    evaluate_run(find_run(cfg.run, Path(cfg.paths.runs), holding="predictions.parquet"), cfg.evaluation)


def detection_run(run: str, root: Path) -> Path | None:
    """The folder of a `lungdet detect` run that a person means by `run`; None for a training run."""
    from lungdet.cli.scan_results import SETTINGS

    return next((p for p in (Path(run).expanduser(), root / run) if (p / SETTINGS).is_file()), None)


def evaluate_run(
    run_directory: RunDirectory, evaluation: DictConfig, *, datamodule: Any = None, checkpoint: str | None = None
) -> None:
    """Write calibration.json, report.json, report.html and the curves of a run, and grids of wrongly called images.

    Args:
        run_directory: holds predictions.parquet; baselines, history.csv and provenance.json where they exist.
        evaluation: `n_resamples`, `seed`, `recalls`, `n_gallery`, `calibration`.
        datamodule: where the gallery's pictures come from; opened from the run's own configuration when None. Without
            the store the report has no pictures and says so.
        checkpoint: that made the predictions, relative to the run; None for the one in provenance.json.
    """
    import pandas as pd

    from lungdet.evaluation.classification import evaluate_classification
    from lungdet.evaluation.mask_predictions import holds_masks
    from lungdet.evaluation.predictions import read_predictions
    from lungdet.evaluation.report import write_report
    from lungdet.evaluation.wording import wording_of

    if holds_masks(run_directory.predictions):
        evaluate_mask_run(run_directory, evaluation)
        return
    provenance = run_directory.read_provenance()
    predictions = read_predictions(run_directory.predictions)
    history = pd.read_csv(run_directory.history) if run_directory.history.is_file() else None
    no_pictures_because = ""
    if datamodule is None:
        datamodule, no_pictures_because = open_data(run_directory)
    report = evaluate_classification(
        predictions,
        title=run_directory.path.name,
        provenance=provenance,
        calibration=calibrate_run(run_directory, predictions, evaluation.calibration, checkpoint=checkpoint),
        wording=wording_of(provenance),
        baselines=read_baselines(run_directory, predictions),
        history=history,
        leak_audit=recorded_audit(run_directory),
        load_pictures=None if datamodule is None else picture_loader(datamodule),
        no_pictures_because=no_pictures_because,
        n_resamples=evaluation.n_resamples,
        seed=evaluation.seed,
        recalls=list(evaluation.recalls),
        n_gallery=evaluation.n_gallery,
    )
    write_report(report, run_directory.path)


def read_baselines(run_directory: RunDirectory, predictions: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Simpler methods that scored the same rows: name -> table.

    Args:
        run_directory: holds none, one or several.
        predictions: of the run, which tell what the baseline of an earlier one was.
    """
    from lungdet.evaluation.predictions import read_predictions
    from lungdet.training.baseline import baseline_name
    from lungdet.training.clinical_baselines import read_clinical_baselines
    from lungdet.training.image_baselines import read_frozen_baseline

    if not run_directory.baseline.is_file():
        return {}
    name = run_directory.read_provenance().get("baseline") or baseline_name(predictions)
    baselines = {name: read_predictions(run_directory.baseline)}
    return baselines | read_clinical_baselines(run_directory) | read_frozen_baseline(run_directory)


def picture_loader(datamodule: Any) -> PictureLoader:
    """What a person sees of a row: the stored image, or three planes of a CT crop, by the kind of data."""
    from lungdet.evaluation.shown import crop_pictures, image_pictures

    load_image = getattr(datamodule, "load_image", None)
    return crop_pictures(datamodule.load_crop) if load_image is None else image_pictures(load_image)


def calibrate_run(
    run_directory: RunDirectory, predictions: pd.DataFrame, method: str, *, checkpoint: str | None = None
) -> RunCalibration | None:
    """Fit the calibration on the run's validation rows and write calibration.json; `none` removes it.

    Args:
        run_directory: holds predictions.parquet.
        predictions: its content.
        method: `none`, `temperature`, `platt` or `isotonic`.
        checkpoint: that made the predictions, relative to the run; None for the one in provenance.json.
    """
    from lungdet.evaluation.calibration import fit_calibration

    if method == "none":
        run_directory.calibration.unlink(missing_ok=True)
        return None
    fitted = fit_calibration(
        predictions,
        cast("CalibrationMethod", method),
        predictions_sha256=hashlib.sha256(run_directory.predictions.read_bytes()).hexdigest(),
        checkpoint=checkpoint or run_directory.read_provenance().get("checkpoint"),
    )
    run_directory.write_json(run_directory.calibration, fitted.to_dict())
    if fitted.missing:
        log.warning("no calibration: %s", fitted.missing)
    return fitted


def evaluate_mask_run(run_directory: RunDirectory, evaluation: DictConfig) -> None:
    """The same of a segmentation run; needs no scans."""
    import pandas as pd

    from lungdet.evaluation.mask_predictions import read_mask_predictions
    from lungdet.evaluation.mask_report import write_mask_report
    from lungdet.evaluation.masks import evaluate_masks

    readers = run_directory.readers
    report = evaluate_masks(
        read_mask_predictions(run_directory.predictions),
        title=run_directory.path.name,
        provenance=run_directory.read_provenance(),
        ceiling=json.loads(readers.read_text()) if readers.is_file() else None,
        history=pd.read_csv(run_directory.history) if run_directory.history.is_file() else None,
        leak_audit=recorded_audit(run_directory),
        n_resamples=evaluation.n_resamples,
        seed=evaluation.seed,
    )
    write_mask_report(report, run_directory.path)


def recorded_audit(run_directory: RunDirectory) -> dict[str, Any] | None:
    """What the run wrote about its partitions: audit.json, or of an earlier run the patients of split.json."""
    from lungdet.evaluation.audit import audit_of_split

    if run_directory.audit.is_file():
        record: dict[str, Any] = json.loads(run_directory.audit.read_text())
        return record
    if run_directory.split.is_file():
        return audit_of_split(json.loads(run_directory.split.read_text()))
    return None


def open_data(run_directory: RunDirectory) -> tuple[CollectionData | None, str]:
    """The run's data, opened with the configuration it was trained with; None and the reason when they are gone."""
    from hydra.errors import InstantiationException

    from lungdet.config.build import build

    if not run_directory.config.is_file():
        return None, "the run has no config.yaml, so nobody knows where its data are."
    cfg = OmegaConf.load(run_directory.config)
    if "split" not in cfg:  # imported weights: no data of their own
        return None, "imported weights have no data of their own."
    try:
        datamodule: CollectionData = build(cfg.data, split=build(cfg.split))
        problems = datamodule.store_problems()
        if not problems:
            datamodule.setup("predict")
    except (LungdetError, InstantiationException) as error:
        problems = [str(error)]
    if problems:
        log.warning("no pictures in the report: %s", problems[0])
        return None, problems[0]
    return datamodule, ""


def main() -> None:
    """Entry point of `lungdet eval` and `python eval.py`."""
    launch("eval", run)


if __name__ == "__main__":
    main()
