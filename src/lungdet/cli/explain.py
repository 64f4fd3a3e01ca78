"""What a trained classifier looks at: occlusion, superpixels or gradients, with a measure of how faithful they are."""

from __future__ import annotations

import dataclasses
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig, OmegaConf

from lungdet.cli.application import launch, with_absolute_paths
from lungdet.cli.executor import make_executor, scheduler_words
from lungdet.errors import ConfigError, LungdetError, RunError

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

    from lungdet.cli.case_work import Parts
    from lungdet.cli.explained_run import ExplainedRun
    from lungdet.evaluation.results import Finding
    from lungdet.executors.outcome import Executor
    from lungdet.executors.prepared import Prepared
    from lungdet.explain.methods import Method
    from lungdet.explanations.case_store import CaseStore
    from lungdet.explanations.cases import CaseChoice
    from lungdet.explanations.faithfulness import FaithfulnessChoice
    from lungdet.explanations.study import ShownCase, Study

log = logging.getLogger(__name__)

# Of the network's own answer and of its quick copy's.
_LARGEST_DIFFERENCE = 1e-5


def run(cfg: DictConfig) -> None:
    """Explain, measure, write the page.

    Raises:
        ConfigError: a value out of range, no case that fits, or explanations of other settings in the folder.
        ClusterError: see `DaskExecutor`.
        RunError: a run that is no classifier, or whose data or predictions are gone.
    """
    from lungdet.config import check_config

    cfg = with_absolute_paths(cfg)
    check_config(cfg, root="explain")
    check_values(cfg)
    with make_executor(cfg) as executor:
        explain(cfg, executor)


def explain(cfg: DictConfig, executor: Executor) -> None:
    """See `run`."""
    from lungdet.cli.case_work import open_studies
    from lungdet.cli.explained_run import open_explained
    from lungdet.cli.explanation_page import notes, on_page, rows_of, summarise
    from lungdet.config.build import build
    from lungdet.explanations.cases import CaseChoice, choose_cases
    from lungdet.explanations.faithfulness import FaithfulnessChoice
    from lungdet.explanations.files import write_explanations
    from lungdet.explanations.pictures import HeatMapChoice
    from lungdet.training.run_directory import find_run

    choice = CaseChoice(**plain(cfg.cases))
    faithfulness, heat_map = FaithfulnessChoice(**cfg.faithfulness), HeatMapChoice(**cfg.heat_map)
    method: Method = build(cfg.explain)
    run_directory = find_run(cfg.run, Path(cfg.paths.runs), holding="predictions.parquet")
    explained = open_explained(run_directory, run_directory.checkpoint(cfg.checkpoint), device=cfg.device)
    chosen = choose_cases(explained.predictions, choice)
    cases = open_studies(cfg, explained)
    study = cases.study
    settings = {
        "explain": plain(cfg.explain),
        "curves": plain(cfg.curves),
        "device": explained.device.type,
        "accelerate": cfg.accelerate,
    }
    folder = run_directory.path / "explanations" / method.name if cfg.out is None else Path(cfg.out)
    store = open_store(folder, {**explained.facts, **settings}, overwrite=cfg.overwrite)
    log.info("%s of %d cases of %s: %s", method.name, len(chosen), run_directory.path.name, folder)
    checkpoint = run_directory.checkpoint(cfg.checkpoint)
    show, measure = (cases.as_work(cfg, checkpoint, name) for name in ("show", "measure"))
    shown = explain_cases(show, explained, chosen, store, executor)
    measured = measure_cases(measure, explained, choice, faithfulness, store=store, executor=executor)
    randomised, no_randomised = randomise(study, explained, chosen, cfg.random_weights)
    found = summarise(
        explained,
        method,
        [on_page(explained, row, case, heat_map) for row, case in zip(rows_of(chosen), shown, strict=True)],
        measured=measured,
        randomised=(randomised, no_randomised),
        faithfulness=faithfulness,
        notes=[*cases.because, *notes(explained, method, chosen, shown)],
        settings={**settings, **{name: plain(cfg[name]) for name in _SHOWN_SETTINGS}},
        n_bars=cfg.n_bars,
    )
    write_explanations(found, folder)


_SHOWN_SETTINGS = ("cases", "faithfulness", "random_weights", "heat_map")


def check_values(cfg: DictConfig) -> None:
    """Refuse numbers that cannot be used before anything is opened.

    Raises:
        ConfigError: the first group that refuses its own, then all that no other part of the command looks at.
    """
    from lungdet.explanations.cases import CaseChoice
    from lungdet.explanations.faithfulness import FaithfulnessChoice
    from lungdet.explanations.pictures import HeatMapChoice
    from lungdet.explanations.study import CurveChoice

    for kind, given in (
        (CaseChoice, plain(cfg.cases)),
        (CurveChoice, cfg.curves),
        (FaithfulnessChoice, cfg.faithfulness),
        (HeatMapChoice, cfg.heat_map),
    ):
        kind(**given)
    problems = []
    if cfg.n_bars < 1:
        problems.append(f"n_bars={cfg.n_bars} must be at least 1")
    if cfg.random_weights.n_cases < 0 or cfg.random_weights.n_cases == 1:
        problems.append(
            f"random_weights.n_cases={cfg.random_weights.n_cases} must be 0, or at least 2: batch norm of random "
            "weights takes its statistics from them"
        )
    if not 0 < cfg.heat_map.quantile <= 1:
        problems.append(f"heat_map.quantile={cfg.heat_map.quantile} must be above 0 and at most 1")
    if problems:
        raise ConfigError(problems)


def make_classifier(explained: ExplainedRun, *, batch_size: int, accelerate: bool) -> tuple[Any, list[Finding]]:
    """The network with its quicker ways, each where it gives the same probabilities, and notes on those that do not."""
    from lungdet.evaluation.results import Finding
    from lungdet.explain.scores import Classifier
    from lungdet.explain.window_scores import window_probability
    from lungdet.losses.classification import binary_logit

    found = Classifier(explained.network, binary_logit, single=explained.single)
    if not accelerate or explained.device.type != "cpu":
        return found, []
    rows = explained.predictions["row"].to_numpy()[:batch_size]
    images = explained.datamodule.evaluation_batch(rows)["image"]
    notes = []
    try:
        windows = window_probability(explained.network, binary_logit, images[:1], batch_size=batch_size)
        found = dataclasses.replace(found, windows=windows)
        log.info(
            "occluding by windows: %.0f %% of the network's multiplications are in layers of which only what a part "
            "changes is computed",
            100 * windows.network.share,
        )
    except LungdetError as error:
        notes.append(f"Whole images were occluded, not windows of them: {error}.")
    try:
        found = dataclasses.replace(found, quick=quick_copy(explained.network, images, batch_size=batch_size))
    except LungdetError as error:
        notes.append(f"The network itself was asked, not its quick copy: {error}.")
    for note in notes:
        log.info("%s", note)
    return found, [Finding("note", "accelerate", note) for note in notes]


def quick_copy(network: nn.Module, images: Tensor, *, batch_size: int) -> nn.Module:
    """A traced copy of the network.

    Raises:
        LungdetError: there is none that gives the same probabilities.
    """
    import torch

    from lungdet.explain.accelerated import accelerated
    from lungdet.losses.classification import binary_logit

    images = images.repeat(-(-batch_size // len(images)), *(1,) * (images.ndim - 1))[:batch_size]
    quick: nn.Module = accelerated(network, images)
    with torch.no_grad():
        answers = [torch.sigmoid(binary_logit(net(images))) for net in (network, quick)]
    difference = float((answers[0] - answers[1]).abs().max())
    if not difference <= _LARGEST_DIFFERENCE:
        raise RunError(f"its probabilities differ by {difference:.1g}")
    return quick


def open_store(folder: Path, key: dict[str, Any], *, overwrite: bool) -> CaseStore:
    """The results that are there already, if their settings are these."""
    from lungdet.explanations.case_store import CaseStore

    store = CaseStore(folder / "cases", key=key)
    different = store.differences()
    if different and not overwrite:
        raise ConfigError(
            [
                f"out: {folder} holds explanations that were made with other settings ({', '.join(different[:4])}); "
                "give another name by explain.name=..., or type overwrite=true"
            ]
        )
    if different:
        store.clear()
    return store


def explain_cases(
    show: Prepared[Parts], explained: ExplainedRun, chosen: pd.DataFrame, store: CaseStore, executor: Executor
) -> list[ShownCase]:
    """Explain the cases of the page; those that are there already are read."""
    from lungdet.cli.case_work import work_out
    from lungdet.explanations.study import ShownCase

    rows = {f"shown-{row}": row for row in chosen["row"].tolist()}
    found = work_out(show, rows, store, executor, title="explain", shared=explained.directory.path)
    return [ShownCase.of_parts(*found[name]) for name in rows]


def measure_cases(
    measure: Prepared[Parts],
    explained: ExplainedRun,
    choice: CaseChoice,
    faithfulness: FaithfulnessChoice,
    *,
    store: CaseStore,
    executor: Executor,
) -> pd.DataFrame:
    """Measure deletion on more cases than are shown: patient_id, label and the facts of each."""
    import pandas as pd

    from lungdet.cli.case_work import work_out
    from lungdet.cli.explanation_page import rows_of
    from lungdet.explanations.cases import draw_by_class

    table = explained.predictions[explained.predictions["partition"] == choice.partition]
    cases = rows_of(draw_by_class(table, n=faithfulness.n_cases, seed=faithfulness.seed))
    rows = {f"measured-{case['row']}": case["row"] for case in cases}
    found = work_out(measure, rows, store, executor, title="measure", shared=explained.directory.path)
    identity = ("series_uid", "patient_id", "candidate_id", "label", "probability")
    return pd.DataFrame(
        [{**{key: case[key] for key in identity}, **found[f"measured-{case['row']}"][0]} for case in cases]
    )


def randomise(
    study: Study, explained: ExplainedRun, chosen: pd.DataFrame, choice: DictConfig
) -> tuple[pd.DataFrame, str]:
    """Compare maps with those of random weights; empty, and why, where that cannot be done."""
    import pandas as pd

    from lungdet.explain.randomised import sanity_check

    none = pd.DataFrame(columns=["step", "module", "image", "rank_correlation"])
    if choice.n_cases == 0:
        return none, "random_weights.n_cases=0"
    rows = chosen["row"].to_numpy()[: choice.n_cases]
    if len(rows) < 2:
        return none, "it needs two cases or more"
    batch = explained.datamodule.evaluation_batch(rows)
    images, labels = batch["image"].to(explained.device), batch["label"].to(explained.device)
    log.info("maps of %d cases from random weights (%s)", len(rows), choice.randomisation)
    table = sanity_check(
        explained.network,
        lambda network: study.maps(network, images, labels),
        images=images,
        seed=choice.seed,
        randomisation=choice.randomisation,
    )
    return table, ""


def plain(node: DictConfig) -> dict[str, Any]:
    """A part of the configuration as plain containers."""
    return cast("dict[str, Any]", OmegaConf.to_container(node, resolve=True))


def main() -> None:
    """Entry point of `lungdet explain`."""
    sys.argv[1:] = scheduler_words(sys.argv[1:])
    launch("explain", run)


if __name__ == "__main__":
    main()
