"""What a run directory says about its network, as a card. Takes plain mappings: the files were read elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath, PurePosixPath
from typing import Any

import torch
from torch import nn

import lungdet
from lungdet.errors import RunError
from lungdet.exports.card import ImageInputSpec, InputSpec, Layout, NetworkCard, NetworkSpec, OutputSpec, Task
from lungdet.exports.image_input import VIEW_AVERAGE, image_input_of, predicting_network

# The module of a task -> what it is called on a card, and the classes of its answers where the run names none.
_TASKS: dict[str, tuple[Task, tuple[str, str]]] = {
    "candidate_classification": ("candidate_classification", ("non_nodule", "nodule")),
    "malignancy": ("malignancy", ("benign", "malignant")),
    "segmentation": ("segmentation", ("background", "nodule")),
    "image_classification": ("image_classification", ("negative", "positive")),
}
_TRAINING_FACTS = (
    "seed", "split_hash", "split_rule", "fold", "store_fingerprint", "checkpoint", "checkpoint_chosen_by",
    "checkpoint_chosen_on", "epochs_trained", "git_commit", "git_changes_hash", "lungdet", "source", "clinical",
    "item", "items", "split_notes",
)  # fmt: skip
_IMAGE_BRANCH_ALONE = (
    "the image branch alone: what the clinical features add to its logit is not in the files, and calibration and "
    "metrics are those of the image branch"
)
_HEADLINE = ("value", "low", "high", "reason")


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What a run left behind, read.

    Attributes:
        name: of the run directory.
        config: config.yaml, resolved.
        checkpoint: which of its checkpoints is exported.
        crop_zyx_vox: voxels of its samples; None of pictures.
        preparation: of pictures, what happens to a file before it is stored (`ImageInputSpec.preparation`); None of CT.
        provenance: provenance.json; empty where the run was interrupted before.
        report: report.json; empty likewise.
        calibration: what the card says of the calibration that was fitted to this checkpoint, or None.
        image_branch: of a run with clinical features, the baseline of its report that is the image branch alone, which
            is all that is exported; None for other runs.
    """

    name: str
    config: Mapping[str, Any]
    checkpoint: str
    crop_zyx_vox: tuple[int, int, int] | None = None
    preparation: Mapping[str, Any] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, Any] | None = None
    image_branch: str | None = None


def card_of_run(run: RunRecord, net: nn.Module, *, name: str) -> NetworkCard:
    """Describe a run's network.

    Args:
        run: what the run left behind.
        net: its network, for what it says about its input and output.
        name: stem of the files.

    Raises:
        RunError: a task whose networks are not exported, or a configuration without window, store or network.
    """
    try:
        model, data = run.config["model"], run.config["data"]
        network = predicting_network(model)
        task, class_names = task_of(model)
        taken = input_of_run(run, net, network=network)
    except (KeyError, TypeError) as error:
        raise RunError(
            f"{run.name}/config.yaml has no {error}: not the run of a network that is exported; see docs/export.md"
        ) from error
    given_names = model.get("class_names") or run.provenance.get("classes")
    return NetworkCard(
        name=name,
        task=task,
        network=network,
        input=taken,
        output=output_of(net, task, class_names=tuple(given_names) if given_names else class_names),
        label_rule=label_rule_of(data.get("samples") or {}),
        training={
            "run": run.name,
            "collection": data.get("_target_"),
            "seed": run.config.get("seed"),
            **{key: run.provenance[key] for key in _TRAINING_FACTS if key in run.provenance},
            **_fine_tuning(run.provenance),
            **{key: value for key, value in (run.config.get("trainer") or {}).items() if key == "precision"},
            **({} if model.get("weights") is None else {"started_from": _named(str(model["weights"]))}),
            "exported_checkpoint": run.checkpoint,
            **({} if run.image_branch is None else {"exported_part": _IMAGE_BRANCH_ALONE}),
        },
        calibration=None if run.calibration is None else dict(run.calibration),
        # The report is of the checkpoint that scored; another one's numbers are not known.
        metrics=headline(_report_of_files(run)) if scored_checkpoint(run) == run.checkpoint else {},
        software={"lungdet": lungdet.__version__, "torch": str(torch.__version__)},
    )


def input_of_run(run: RunRecord, net: nn.Module, *, network: NetworkSpec) -> InputSpec | ImageInputSpec:
    """What the network takes.

    Args:
        run: with `preparation` for pictures, or `crop_zyx_vox` and the window and spacing of its configuration for CT.
        net: the network.
        network: how it is built, for the views.

    Raises:
        KeyError: a configuration without window or store.
        RunError: see `input_of`.
    """
    if run.preparation is not None:
        views = network.arguments if network.target == VIEW_AVERAGE else {}
        return image_input_of(net, run.preparation, views=views.get("views"), center_crop=views.get("center_crop"))
    data = run.config["data"]
    if run.crop_zyx_vox is None:
        raise RunError(f"{run.name}: neither the crop of CT nor the preparation of pictures is known")
    return input_of(net, run.crop_zyx_vox, window=data["window"], spacing=data["store"]["spacing_mm"])


def label_rule_of(samples: Mapping[str, Any]) -> str | None:
    """How the run's samples got their labels or masks, where they say so; None where the annotations decide alone."""
    targets = samples.get("targets")
    if isinstance(targets, Mapping):
        facts = {**targets, "min_readers": samples.get("min_readers")}
        facts = {name: value for name, value in facts.items() if name != "_target_" and value is not None}
        return ", ".join(f"{name}={value}" for name, value in facts.items())
    rule = samples.get("label_rule")
    return None if rule is None else str(rule)


def scored_checkpoint(run: RunRecord) -> str | None:
    """Stem of the checkpoint that the run's report is about."""
    name = run.provenance.get("checkpoint")
    return None if name is None else PurePosixPath(name).stem


def task_of(model: Mapping[str, Any]) -> tuple[Task, tuple[str, str]]:
    """The task of a `model` node and its default class names.

    Raises:
        RunError: another task.
    """
    module = module_of_task(model)
    if module not in _TASKS:
        raise RunError(f"model._target_={model['_target_']}: networks of {', '.join(_TASKS)} can be exported")
    return _TASKS[module]


def module_of_task(model: Mapping[str, Any]) -> str:
    """Last part of the module of a `model` node's task; empty where the node names none.

    Example:
        >>> module_of_task({"_target_": "lungdet.tasks.malignancy.Malignancy"})
        'malignancy'
    """
    return str(model.get("_target_", "")).rpartition(".")[0].rpartition(".")[2]


def input_of(
    net: nn.Module, crop_zyx_vox: tuple[int, int, int], *, window: Mapping[str, Any], spacing: Any
) -> InputSpec:
    """What the network takes: slices where its convolutions are 2-D, a volume where they are 3-D.

    Raises:
        RunError: a network of another kind, or one whose channels are not the slices of the crop.
    """
    kinds = {type(m).__mro__ for m in net.modules()}
    has_3d, has_2d = (any(kind in mro for mro in kinds) for kind in (nn.Conv3d, nn.Conv2d))
    channels = int(getattr(net, "in_channels", 1))
    if has_3d == has_2d:
        raise RunError(f"{type(net).__name__} has neither 2-D nor 3-D convolutions alone; it cannot be exported")
    layout: Layout = "volume" if has_3d else "slices"
    if layout == "slices" and crop_zyx_vox[0] != channels:
        raise RunError(
            f"the network takes {channels} slices, the run's crop {list(crop_zyx_vox)} has {crop_zyx_vox[0]}"
        )
    low, high = (float(end) for end in window["range_hu"])
    divisor = getattr(net, "divisor", None)
    return InputSpec(
        layout=layout,
        channels=channels,
        crop_zyx_vox=crop_zyx_vox,
        size_divisor=int(divisor) if layout == "slices" and divisor is not None else None,
        plane="axial",
        spacing_zyx_mm=None if isinstance(spacing, str) else (float(spacing[0]), float(spacing[1]), float(spacing[2])),
        window_hu=(low, high),
        scale=window["scale"],
        border="pad",
    )


def output_of(net: nn.Module, task: Task, *, class_names: tuple[str, ...]) -> OutputSpec:
    """What the answer means, from the channels of the network's output."""
    channels = n_outputs(net)
    negative, positive = class_names
    return OutputSpec(
        channels=channels,
        per={"segmentation": "voxel", "image_classification": "image"}.get(task, "crop"),  # type: ignore[arg-type]
        class_names=(negative, positive),
        logit="outputs[:, 0]" if channels == 1 else "outputs[:, 1] - outputs[:, 0]",
        probability=f"sigmoid(logit) is the probability of '{positive}'",
    )


def n_outputs(net: nn.Module) -> int:
    """Channels of a network's output: what it says itself, or those of its last layer with weights."""
    said = getattr(net, "n_classes", None)
    if said is not None:
        return int(said)
    last = [m for m in net.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.Conv3d)][-1]
    return int(last.out_features if isinstance(last, nn.Linear) else last.out_channels)


def _fine_tuning(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What a fine-tuned network started from, without the folders of the machine it was trained on."""
    start = provenance.get("initial_weights")
    if start is None:
        return {}
    return {"initial_weights": _named(start), "frozen": list(provenance.get("frozen", ()))}


def _named(weights: str) -> str:
    """A file's last three parts; `imagenet` and the like as they are."""
    return "/".join(PurePath(weights).parts[-3:])


def _report_of_files(run: RunRecord) -> Mapping[str, Any]:
    """The report, and of a run with clinical features what it says of the network without them."""
    if run.image_branch is None:
        return run.report
    ranking = {
        run.report.get("partition"): row["ranking"]
        for row in run.report.get("baselines") or ()
        if row["name"] == run.image_branch
    }
    return {**run.report, "ranking": ranking}


def headline(report: Mapping[str, Any]) -> dict[str, Any]:
    """AUROC, average precision and whatever else a report ranks by: {partition: {metric: value, low, high}}."""
    numbers = {}
    for partition, metrics in (report.get("ranking") or {}).items():
        numbers[partition] = {
            name: {key: estimate[key] for key in _HEADLINE if key in estimate}
            for name, estimate in metrics.items()
            if isinstance(estimate, Mapping) and "value" in estimate
        }
        counts = (report.get("counts") or {}).get(partition)
        if counts:
            numbers[partition]["counts"] = dict(counts)
    return numbers
