"""Export a run's network: safetensors with a card, ONNX, torch.export, TorchScript; each checked before it is kept."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from omegaconf import DictConfig, OmegaConf

from lungdet.cli.application import launch, with_absolute_paths
from lungdet.errors import RunError

if TYPE_CHECKING:
    from torch import nn

    from lungdet.evaluation.calibration import RunCalibration
    from lungdet.exports.card import NetworkCard, NetworkSpec
    from lungdet.exports.from_run import RunRecord
    from lungdet.training.run_directory import RunDirectory

log = logging.getLogger(__name__)

# How a card says what `lungdet.metrics.calibrators` computes.
FORMULAS = {
    "temperature": "probability = sigmoid(logit / temperature)",
    "platt": "probability = sigmoid(slope * logit + intercept)",
    "isotonic": "probability = linear interpolation of knot_probability over knot_logit, constant outside",
}
# Where a task's checkpoint keeps its network.
_NET = "net."
# Rows of the predictions table that are scored again.
_COMPARED = 32


def run(cfg: DictConfig) -> None:
    """Read the run, rebuild its network, write and check the files."""
    from lungdet.cli.networks import calibrator_of
    from lungdet.config import check_config
    from lungdet.exports.write import check_formats, export_network
    from lungdet.training.run_directory import find_run

    cfg = with_absolute_paths(cfg)
    check_config(cfg, root="export")
    formats = [cfg.formats] if isinstance(cfg.formats, str) else list(cfg.formats)
    check_formats(formats)
    run_directory = find_run(cfg.run, Path(cfg.paths.runs))
    net, card = network_of_run(run_directory, cfg.checkpoint, name=cfg.name or run_directory.path.name)
    card = compared_with_predictions(net, card, run_directory)
    calibrator = calibrator_of(card)
    written = export_network(
        net,
        card,
        Path(cfg.out),
        formats=formats,
        probability=None if calibrator is None else calibrator.probability,
    )
    log.info("%s, trained for %s:\n%s", type(net).__name__, card.task, "\n".join(f"  {path}" for path in written))


def network_of_run(run_directory: RunDirectory, checkpoint: str, *, name: str) -> tuple[nn.Module, NetworkCard]:
    """A run's network as its predictions were made: with the views that they average over, or all of an ensemble.

    Args:
        run_directory: of a training or an ensemble.
        checkpoint: `best`, `last` or a file; of an ensemble nothing else than `best`, which is what its members scored
            with.
        name: for the card.

    Returns:
        The network in evaluation mode on the CPU, and its card without files.

    Raises:
        RunError: no network in the run, or one that cannot be exported.
    """
    from lungdet.cli.ensemble import network_of_ensemble
    from lungdet.exports.from_run import card_of_run
    from lungdet.exports.image_input import with_views
    from lungdet.exports.rebuild import describe_network
    from lungdet.training.ensembling import read_members

    members = read_members(run_directory)
    if members is not None:
        if checkpoint != "best":
            raise RunError(f"checkpoint={checkpoint}: {name} is an ensemble, which has no checkpoint of its own")
        return network_of_ensemble(run_directory, members, name=name)
    file = run_directory.checkpoint(checkpoint)
    record = read_run(run_directory, file)
    model = record.config.get("model") or {}
    if not isinstance(model.get("net"), dict):
        raise RunError(f"{run_directory.config} has no model.net: nothing to export")
    net = trained_network(describe_network(model["net"]), file)
    card = card_of_run(record, net, name=name)
    return with_views(net, model), card


def compared_with_predictions(net: nn.Module, card: NetworkCard, run_directory: RunDirectory) -> NetworkCard:
    """The card with how far the network is from the run's own predictions, where the pictures are still there.

    Args:
        net: of pictures; of CT nothing is compared.
        card: of the checkpoint that scored, else nothing is compared.
        run_directory: has the predictions and says where the pictures are.

    Raises:
        RunError: they differ by more than the precision of the training explains.
    """
    from lungdet.cli.eval import open_data
    from lungdet.evaluation.predictions import read_predictions
    from lungdet.exports.card import ImageInputSpec
    from lungdet.exports.parity import difference_to_logits

    scored = Path(str(run_directory.read_provenance().get("checkpoint"))).stem
    is_scored = card.training.get("exported_checkpoint", scored) == scored and run_directory.predictions.is_file()
    if not isinstance(card.input, ImageInputSpec) or not is_scored:
        return card
    datamodule, reason = open_data(run_directory)
    if datamodule is None:
        log.warning("not compared with the run's predictions: %s", reason)
        return card
    table = read_predictions(run_directory.predictions).drop_duplicates("series_uid").set_index("series_uid")["logit"]
    records = datamodule.records
    rows = np.flatnonzero(records["series_uid"].isin(table.index))[:_COMPARED].astype(np.int64)
    batch = datamodule.evaluation_batch(rows)
    expected = table.loc[records["series_uid"].iloc[rows]].to_numpy()
    found = difference_to_logits(net, batch["image"], expected, precision=str(card.training.get("precision")))
    return dataclasses.replace(card, training={**card.training, "predictions_again": found})


def read_run(run_directory: RunDirectory, checkpoint: Path) -> RunRecord:
    """What the files of a run say about its network.

    Raises:
        RunError: a configuration without data, or one that cannot be resolved.
    """
    from omegaconf.errors import OmegaConfBaseException

    from lungdet.exports.from_run import RunRecord

    try:
        config = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(run_directory.config), resolve=True))
        shape = input_facts(config)
    except (OmegaConfBaseException, KeyError, TypeError) as error:
        raise RunError(f"{run_directory.config} does not describe the input of a network: {error}") from error
    report = run_directory.path / "report.json"
    return RunRecord(
        name=run_directory.path.name,
        config=config,
        checkpoint=checkpoint.stem,
        **shape,
        provenance=run_directory.read_provenance(),
        report=json.loads(report.read_text()) if report.is_file() else {},
        calibration=calibration_for(run_directory, checkpoint),
        image_branch=image_branch_of(run_directory),
    )


def calibration_for(run_directory: RunDirectory, checkpoint: Path) -> dict[str, Any] | None:
    """What a card says of a run's calibration; None, with the reason logged, where it has none for this checkpoint.

    A run with clinical features calibrates image and features together. What leaves it is the image branch alone, whose
    logits lie elsewhere, so the same method is fitted to them, on the same validation rows.

    Raises:
        TableError: calibration.json, or the image branch's predictions, are damaged.
    """
    from lungdet.evaluation.calibration import FITTED_ON, read_calibration

    if not run_directory.calibration.is_file():
        return None
    fitted = read_calibration(run_directory.calibration)
    name = run_directory.path.name
    if fitted.single is None:
        log.warning("%s is not calibrated: %s", name, fitted.missing or "its calibration is of several folds")
        return None
    if fitted.checkpoint is None or Path(fitted.checkpoint).name != checkpoint.name:
        log.warning("%s: the calibration was fitted to %s, not to %s", name, fitted.checkpoint, checkpoint.name)
        return None
    of_branch = image_branch_of(run_directory) is not None
    used = calibration_of_image_branch(run_directory, fitted) if of_branch else fitted
    if used is None or used.single is None:
        why = f"there is no {run_directory.image_branch.name}; make it: lungdet predict run={name}"
        log.warning("the image branch of %s is not calibrated: %s", name, why if used is None else used.missing)
        return None
    fit = used.fits[0]
    return {
        "parameters": used.single.to_dict(),
        "formula": FORMULAS[used.method],
        "fitted_on": FITTED_ON,
        "n_rows": fit.n_rows,
        "n_positives": fit.n_positives,
        **({"of": "the image branch alone"} if of_branch else {}),
    }


def image_branch_of(run_directory: RunDirectory) -> str | None:
    """Of a network with clinical features: the baseline in its report that is all an export holds. None of others."""
    if "clinical" not in run_directory.read_provenance() and not run_directory.image_branch.is_file():
        return None
    from lungdet.training.clinical_baselines import IMAGE_BRANCH_ALONE

    return IMAGE_BRANCH_ALONE


def calibration_of_image_branch(run_directory: RunDirectory, fused: RunCalibration) -> RunCalibration | None:
    """The run's method of calibration, fitted to its image branch's logits of the same rows; None without those."""
    from lungdet.evaluation.calibration import fit_calibration
    from lungdet.evaluation.predictions import read_predictions

    if not run_directory.image_branch.is_file():
        return None
    log.info("%s: %s is fitted to the logits of its image branch alone", run_directory.path.name, fused.method)
    return fit_calibration(read_predictions(run_directory.image_branch), fused.method, checkpoint=fused.checkpoint)


def input_facts(config: dict[str, Any]) -> dict[str, Any]:
    """Of a run's configuration, the fields of a `RunRecord` that say what its network takes.

    Raises:
        KeyError, TypeError: a part is missing.
        StoreError: a value out of range.
    """
    from lungdet.exports.from_run import module_of_task

    if module_of_task(config["model"]) != "image_classification":
        return {"crop_zyx_vox": crop_of(config["data"])}
    from lungdet.config.build import build

    return {"preparation": build(OmegaConf.create(config["data"]["store"])).to_dict()}


def crop_of(data: dict[str, Any]) -> tuple[int, int, int]:
    """Voxels of a run's samples, z, y, x."""
    from lungdet.store.schema import CropSize

    crop = {name: value for name, value in data["crop"].items() if name != "_target_"}
    return CropSize(**crop).shape_zyx(data["store"]["spacing_mm"])


def trained_network(network: NetworkSpec, checkpoint: Path) -> nn.Module:
    """The network with a checkpoint's weights (read with `weights_only`: a checkpoint cannot run code).

    Raises:
        RunError: not a checkpoint of this network, or weights that are NaN or infinite.
    """
    from lungdet.exports.rebuild import rebuild
    from lungdet.nets.state_file import load_state_file, require_finite_tensors, require_layout

    state = load_state_file(checkpoint).get("state_dict")
    if not isinstance(state, dict):
        raise RunError(f"{checkpoint} has no state_dict: not a checkpoint of a run")
    weights = {name.removeprefix(_NET): tensor for name, tensor in state.items() if name.startswith(_NET)}
    require_finite_tensors(weights, checkpoint)
    net = rebuild(network)
    require_layout(weights, net.state_dict(), path=checkpoint, net=network.target)
    net.load_state_dict(weights, strict=True)
    return net


def main() -> None:
    """Entry point of `lungdet export`."""
    launch("export", run)


if __name__ == "__main__":
    main()
