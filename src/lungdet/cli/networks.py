"""Trained networks as a person names them: run directories, exported files, the seed book's .state files."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from lungdet.errors import ConfigError, LungdetError, RunError, TableError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from lungdet.exports.card import InputSpec, NetworkCard
    from lungdet.metrics.calibrators import Calibrator
    from lungdet.training.run_directory import RunDirectory

log = logging.getLogger(__name__)

# Role in a pipeline -> what the network was trained for, as on its card.
TASKS = {"segmentation": "segmentation", "classifier": "candidate_classification", "malignancy": "malignancy"}
_BOOK_WINDOW_HU = (-1000.0, 1000.0)


@dataclass(frozen=True)
class TrainedNetwork:
    """A network that was trained, and what is known about it.

    Attributes:
        net: float32 [B, C, ...] -> outputs [B, K, ...], in evaluation mode.
        input: what it takes.
        name: how the reader of a result recognises it.
        sha256: of its weights or its file.
        run: the run directory it comes from, None for files.
        split_hash: of the patients it was trained without, where known.
        label_rule: of a malignancy network, where known.
        calibrator: from its logits to probabilities, fitted on its validation rows; None where there is none.
    """

    net: nn.Module
    input: InputSpec
    name: str
    sha256: str
    run: RunDirectory | None = None
    split_hash: str | None = None
    label_rule: str | None = None
    calibrator: Calibrator | None = None

    def describe(self) -> dict[str, Any]:
        """Ready for JSON."""
        record: dict[str, Any] = {"name": self.name, "sha256": self.sha256[:16]}
        return record if self.label_rule is None else {**record, "label_rule": self.label_rule}


def load_networks(
    references: str | Sequence[str] | None,
    *,
    role: str,
    checkpoint: str,
    runs: Path,
    device: torch.device,
    calibrated: bool = True,
) -> tuple[TrainedNetwork, ...]:
    """Load the networks of one role.

    Args:
        references: one or several, see `load_network`; None for none.
        role: a key of `TASKS`.
        checkpoint: of run directories.
        runs: where run directories are kept.
        device: where the networks go.
        calibrated: keep the calibration that belongs to each, where there is one.

    Raises:
        ConfigError: an ensemble whose members take different inputs.
        LungdetError: see `load_network`; the message begins with the config path.
    """
    if references is None:
        return ()
    listed = [references] if isinstance(references, str) else list(references)
    loaded = []
    for reference in listed:
        try:
            network = load_network(reference, role=role, checkpoint=checkpoint, runs=runs)
        except ConfigError as error:
            raise ConfigError([f"networks.{role}: {problem}" for problem in error.problems]) from error
        except LungdetError as error:
            raise type(error)(f"networks.{role}: {error}") from error
        except OSError as error:  # also what PyTorch makes of a file that ends too early
            raise RunError(f"networks.{role}: {reference} cannot be read, is it complete? ({error})") from error
        network.net.to(device)
        if not calibrated:
            network = replace(network, calibrator=None)
        elif network.calibrator is None and role != "segmentation":
            log.warning("%s: %s has no calibration, its probabilities are the network's own", role, network.name)
        log.info("%s: %s", role, network.name)
        loaded.append(network)
    for other in loaded[1:]:
        if other.input != loaded[0].input:
            raise ConfigError(
                [
                    f"networks.{role}: {loaded[0].name} and {other.name} were trained on different inputs "
                    f"({loaded[0].input} and {other.input}); an ensemble needs one"
                ]
            )
    return tuple(loaded)


def load_network(reference: str, *, role: str, checkpoint: str, runs: Path) -> TrainedNetwork:
    """Load one network.

    Args:
        reference: a run directory, its name below `runs`, `latest` (the newest run of this role), an exported file, or
            a .state file of the seed book.
        role: a key of `TASKS`.
        checkpoint: of a run directory.
        runs: where run directories are kept.

    Raises:
        RunError: it was trained for something else, or cannot be read.
        MissingFileError: no such file.
    """
    from lungdet.exports.load import FORMATS, is_exported, load_exported

    path = Path(reference).expanduser()
    if path.suffix == ".state":
        return _book_network(path, role=role)
    if is_exported(path):
        exported = load_exported(path)
        _check_task(exported.card.task, role=role, name=path.name)
        entry = next(e for e in exported.card.files.values() if e.file == path.name)
        return TrainedNetwork(
            exported.net,
            exported.card.ct_input,
            path.name,
            entry.sha256,
            split_hash=exported.card.training.get("split_hash"),
            label_rule=exported.card.label_rule,
            calibrator=calibrator_of(exported.card),
        )
    if path.is_file():
        suffixes = ", ".join([*(form.suffix for form in FORMATS.values()), ".state"])
        raise RunError(f"{path} is no network that can be read: give a run directory or a file {suffixes}")
    return _run_network(reference, role=role, checkpoint=checkpoint, runs=runs)


def _run_network(reference: str, *, role: str, checkpoint: str, runs: Path) -> TrainedNetwork:
    from lungdet.cli.export import read_run, trained_network
    from lungdet.exports.from_run import card_of_run
    from lungdet.exports.rebuild import describe_network
    from lungdet.training.run_directory import find_run

    run = newest_run(runs, role=role) if reference == "latest" else find_run(reference, runs)
    _check_task(_task_of(run), role=role, name=run.path.name)
    file = run.checkpoint(checkpoint)
    record = read_run(run, file)
    net = trained_network(describe_network(record.config["model"]["net"]), file)
    card = card_of_run(record, net, name=run.path.name)
    name = f"{run.path.name}/{file.stem}"
    split_hash = card.training.get("split_hash")
    return TrainedNetwork(
        net,
        card.ct_input,
        name,
        _hash_of(net),
        run=run,
        split_hash=split_hash,
        label_rule=card.label_rule,
        calibrator=calibrator_of(card),
    )


def calibrator_of(card: NetworkCard) -> Calibrator | None:
    """The calibration on a card; None where it has none.

    Raises:
        RunError: parameters that are no calibrator.
    """
    from lungdet.metrics.calibrators import calibrator_from_dict

    if card.calibration is None:
        return None
    try:
        return calibrator_from_dict(card.calibration["parameters"])
    except (TableError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"the card of {card.name} has a damaged calibration ({error}); export it again") from error


def newest_run(runs: Path, *, role: str) -> RunDirectory:
    """The newest finished run below a folder whose network has this role.

    Raises:
        RunError: there is none.
    """
    from lungdet.training.run_directory import RunDirectory

    found = sorted(runs.glob("**/predictions.parquet"), key=lambda p: (p.stat().st_mtime_ns, str(p)), reverse=True)
    for file in found:
        run = RunDirectory(file.parent)
        try:
            if _task_of(run) == TASKS[role]:
                return run
        except RunError:  # the newest runs may be of other kinds, or damaged; only the wanted one is asked for more
            continue
    model = {"segmentation": "unet_seg", "classifier": "luna_cls", "malignancy": "malignancy"}[role]
    raise RunError(f"latest: no finished run of a {role} below {runs}; make one: lungdet train model={model}")


def series_of_test_patients(networks: Sequence[TrainedNetwork], collection: Path) -> tuple[str, ...]:
    """Series of the patients that none of the networks was trained or chosen on.

    Args:
        networks: at least one of them from a run directory, whose split names the patients; exported files have the
            hash of theirs, of others nobody knows, which is logged.
        collection: folder in LUNA16 layout, whose tables say which series is whose.

    Raises:
        ConfigError: no network of a run, networks that were split differently.
        RunError: none of the test patients is in the collection.
    """
    from lungdet.data.partitions import Split
    from lungdet.io.luna16 import read_luna16

    splits: dict[str, Split] = {}
    for network in networks:
        if network.run is not None and network.run.split.is_file():
            splits[network.name] = Split.from_json(network.run.split.read_text())
    if not splits:
        raise ConfigError(["only: test needs the split of a run directory, and no network comes from one"])
    hashes = {n.name: n.split_hash for n in networks if n.split_hash is not None}
    hashes |= {name: split.hash for name, split in splits.items()}
    if len(set(hashes.values())) > 1:
        raise ConfigError(
            [
                f"only: test is ambiguous, {', '.join(hashes)} were trained on different splits; train them with one "
                "split= on one collection, or give a file with series UIDs"
            ]
        )
    unknown = sorted({network.name for network in networks} - set(hashes))
    if unknown:
        log.warning("only=test: nobody knows the training patients of %s; they may be among these", ", ".join(unknown))
    patients = next(iter(splits.values())).test
    series = read_luna16(collection).series
    chosen = tuple(series.loc[series["patient_id"].isin(patients), "series_uid"])
    if not chosen:
        raise RunError(
            f"only: none of the {len(patients)} test patients of {next(iter(splits))} is in {collection}; give the "
            "collection it was trained on, or a file with series UIDs"
        )
    return chosen


def _task_of(run: RunDirectory) -> str:
    from lungdet.exports.from_run import task_of

    try:
        config = OmegaConf.load(run.config)
    except (OSError, YAMLError, OmegaConfBaseException) as error:
        raise RunError(f"{run.config} cannot be read: {error}") from error
    model = config.get("model") if isinstance(config, DictConfig) else None
    if not isinstance(model, DictConfig):
        raise RunError(f"{run.config} has no model: not the run of a network")
    return str(task_of({"_target_": model.get("_target_", "")})[0])


def _check_task(task: str, *, role: str, name: str) -> None:
    if task != TASKS[role]:
        other = next((r for r, t in TASKS.items() if t == task), "nothing here")
        raise RunError(f"{name} was trained for {task}, not for {TASKS[role]}; it belongs to networks.{other}")


def _book_network(path: Path, *, role: str) -> TrainedNetwork:
    """A .state file of the seed book: native voxels, HU clipped to [-1000, 1000] and not scaled."""
    from lungdet.exports.card import InputSpec
    from lungdet.nets.book_segmenter import load_book_segmenter
    from lungdet.nets.book_weights import load_book_classifier

    is_segmenter = role == "segmentation"
    net = load_book_segmenter(path) if is_segmenter else load_book_classifier(path)
    contract = InputSpec(
        layout="slices" if is_segmenter else "volume",
        channels=7 if is_segmenter else 1,
        crop_zyx_vox=(7, 64, 64) if is_segmenter else (32, 48, 48),
        size_divisor=4 if is_segmenter else None,
        plane="axial",
        spacing_zyx_mm=None,
        window_hu=_BOOK_WINDOW_HU,
        scale="hu",
        border="pad",
    )
    return TrainedNetwork(net, contract, path.name, _hash_of(net))


def _hash_of(net: nn.Module) -> str:
    """Of the names and bytes of all tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
