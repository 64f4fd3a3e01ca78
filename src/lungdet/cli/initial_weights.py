"""Where `model.init_from` points: the file behind a run's name, and whether that network saw the same input."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from lungdet.config import conf_folder
from lungdet.errors import ConfigError, RunError
from lungdet.training.run_directory import RunDirectory, find_run

log = logging.getLogger(__name__)

# What the weights are bound to. A crop of another size is only named: the networks take any, and the head is new.
BINDING = ("window.range_hu", "window.scale", "store.spacing_mm")
NAMED = ("crop.vox", "crop.mm")


def with_initial_weights(cfg: DictConfig, *, resumed: Path | None) -> DictConfig:
    """A copy of `cfg` in which `model.init_from` is the path of a file, so that config.yaml says what was read.

    Args:
        cfg: a composed train configuration, not checked yet.
        resumed: the checkpoint that training goes on from; the weights come from it, so that `init_from` only repeats
            what that run was started with.

    Raises:
        ConfigError: no such run or file, or a network that was trained on another window or spacing.
    """
    given = OmegaConf.select(cfg, "model.init_from")
    if not isinstance(given, str):
        return cfg
    copy = cfg.copy()
    if resumed is not None:
        before = _trained_config(resumed)
        copy.model.init_from = given if before is None else OmegaConf.select(before, "model.init_from")
        return copy
    try:
        path = find_weights(given, cfg)
    except RunError as error:
        raise ConfigError([f"model.init_from: {error}"]) from error
    trained = _trained_config(path)
    if trained is None:
        log.warning("model.init_from: nobody knows what %s was trained on (no config.yaml of a run beside it)", path)
    else:
        problems = list(contract_problems(trained, cfg))
        if problems:
            raise ConfigError(problems)
        if "split" in trained and trained.split != cfg.split:
            log.warning("model.init_from was trained with another split: its training patients may be tested here")
        for _, text in _differences(trained, cfg, NAMED):
            log.warning("%s; the features are taken over as they are", text)
    copy.model.init_from = str(path)
    return copy


def find_weights(given: str, cfg: DictConfig) -> Path:
    """The file that holds the weights: `given` itself, the best checkpoint of a run, or that of the latest fitting run.

    Raises:
        RunError: there is none.
    """
    path = Path(given).expanduser()
    if path.is_file():
        return path.resolve()
    runs = Path(cfg.paths.runs)
    if given == "latest":
        return _latest(runs, cfg).checkpoint("best").resolve()
    return find_run(given, runs).checkpoint("best").resolve()


def contract_problems(trained: DictConfig, cfg: DictConfig) -> Iterator[str]:
    """Where the input that a network was trained on differs from the one it shall be fine-tuned on.

    Args:
        trained: configuration of the run that trained it.
        cfg: configuration of the run that takes its weights over.
    """
    for key, text in _differences(trained, cfg, BINDING):
        yield f"{text}; add data.{key}={_typed(OmegaConf.select(trained, f'data.{key}'))}"


def _differences(trained: DictConfig, cfg: DictConfig, keys: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for key in keys:
        before, here = (_plain(OmegaConf.select(part, f"data.{key}")) for part in (trained, cfg))
        if before != here:
            text = f"model.init_from: that network was trained with data.{key}={_typed(before)}, this run has "
            yield key, text + _typed(here)


def _latest(runs: Path, cfg: DictConfig) -> RunDirectory:
    """The newest run of the same network on samples of another kind: not an earlier fine-tuning itself."""
    found = sorted(runs.glob("**/checkpoints/best.ckpt"), key=lambda p: (p.stat().st_mtime_ns, str(p)), reverse=True)
    for checkpoint in found:
        trained = _trained_config(checkpoint)
        if trained is not None and _fits(trained, cfg):
            return RunDirectory(checkpoint.parents[1])
    net = str(OmegaConf.select(cfg, "model.net._target_")).rpartition(".")[2]
    raise RunError(f"no run below {runs} trained a {net} on candidates; make one: python train.py")


def _fits(trained: DictConfig, cfg: DictConfig) -> bool:
    net, own_net = (OmegaConf.select(part, "model.net._target_") for part in (trained, cfg))
    samples, own_samples = (OmegaConf.select(part, "data.samples._target_") for part in (trained, cfg))
    return bool(net == own_net and samples != own_samples)


def _trained_config(weights: Path) -> DictConfig | None:
    """The configuration a network was trained with: of the run that the file lies in, or of the seed book."""
    if weights.suffix == ".state":
        book = OmegaConf.load(conf_folder() / "import_weights.yaml")
        return OmegaConf.create({"data": book.input})
    config = RunDirectory(weights.resolve().parents[1]).config
    loaded = OmegaConf.load(config) if config.is_file() else None
    return loaded if isinstance(loaded, DictConfig) else None


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _typed(value: Any) -> str:
    """As a person types it on the command line."""
    if isinstance(value, list | ListConfig):
        return "[" + ",".join(map(str, value)) + "]"
    return "null" if value is None else str(value)
