"""What a trained classifier looks at: occlusion, superpixels or gradients, with a measure of how faithful they are."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig, OmegaConf

from lungdet.cli.application import launch, with_absolute_paths
from lungdet.errors import ConfigError, LungdetError

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from lungdet.cli.explained_run import ExplainedRun
    from lungdet.evaluation.results import Finding
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
        RunError: a run that is no classifier, or whose data or predictions are gone.
    """
    from lungdet.cli.explained_run import open_explained
    from lungdet.cli.explanation_page import notes, on_page, rows_of, summarise
    from lungdet.config import check_config
    from lungdet.config.build import build
    from lungdet.explain.fill_rules import resolved
    from lungdet.explanations.cases import CaseChoice, choose_cases
    from lungdet.explanations.faithfulness import FaithfulnessChoice
    from lungdet.explanations.files import write_explanations
    from lungdet.explanations.pictures import HeatMapChoice
    from lungdet.explanations.study import CurveChoice, Study
    from lungdet.training.run_directory import find_run

    cfg = with_absolute_paths(cfg)
    check_config(cfg, root="explain")
    choice, curves = CaseChoice(**plain(cfg.cases)), CurveChoice(**cfg.curves)
    faithfulness, heat_map = FaithfulnessChoice(**cfg.faithfulness), HeatMapChoice(**cfg.heat_map)
    check_values(cfg)
    method: Method = build(cfg.explain)
    run_directory = find_run(cfg.run, Path(cfg.paths.runs), holding="predictions.parquet")
    explained = open_explained(run_directory, run_directory.checkpoint(cfg.checkpoint), device=cfg.device)
    chosen = choose_cases(explained.predictions, choice)
    classifier, because = make_classifier(explained, batch_size=method.batch_size, accelerate=cfg.accelerate)
    study = Study(
        method=method,
        classifier=classifier,
        fill=resolved(method.fill, explained.fill_data()),
        curves=curves,
    )
    settings = {
        "explain": plain(cfg.explain),
        "curves": plain(cfg.curves),
        "device": explained.device.type,
        "accelerate": cfg.accelerate,
    }
    folder = run_directory.path / "explanations" / method.name if cfg.out is None else Path(cfg.out)
    store = open_store(folder, {**explained.facts, **settings}, overwrite=cfg.overwrite)
    log.info("%s of %d cases of %s: %s", method.name, len(chosen), run_directory.path.name, folder)
    shown = explain_cases(study, explained, chosen, store)
    measured = measure_cases(study, explained, choice, faithfulness, store)
    randomised, no_randomised = randomise(study, explained, chosen, cfg.random_weights)
    found = summarise(
        explained,
        method,
        [on_page(explained, row, case, heat_map) for row, case in zip(rows_of(chosen), shown, strict=True)],
        measured=measured,
        randomised=(randomised, no_randomised),
        faithfulness=faithfulness,
        notes=[*because, *notes(explained, method, chosen, shown)],
        settings={**settings, **{name: plain(cfg[name]) for name in _SHOWN_SETTINGS}},
        n_bars=cfg.n_bars,
    )
    write_explanations(found, folder)


_SHOWN_SETTINGS = ("cases", "faithfulness", "random_weights", "heat_map")


def check_values(cfg: DictConfig) -> None:
    """Refuse numbers that no other part of the command looks at, all of them at once."""
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
    """The network with its quick copy, where there is one that gives the same probabilities."""
    import torch

    from lungdet.evaluation.results import Finding
    from lungdet.explain.accelerated import accelerated
    from lungdet.explain.scores import Classifier
    from lungdet.losses.classification import binary_logit

    plain_one = Classifier(explained.network, binary_logit, single=explained.single)
    if not accelerate or explained.device.type != "cpu":
        return plain_one, []
    rows = explained.predictions["row"].to_numpy()[:batch_size]
    images = explained.datamodule.evaluation_batch(rows)["image"]
    images = images.repeat(-(-batch_size // len(images)), *(1,) * (images.ndim - 1))[:batch_size]
    try:
        quick: nn.Module = accelerated(explained.network, images)
        with torch.no_grad():
            answers = [torch.sigmoid(binary_logit(net(images))) for net in (explained.network, quick)]
        difference = float((answers[0] - answers[1]).abs().max())
        if difference <= _LARGEST_DIFFERENCE:
            return dataclasses.replace(plain_one, quick=quick), []
        reason = f"its probabilities differ by {difference:.1g}"
    except LungdetError as error:
        reason = str(error)
    log.info("explaining with the network itself, not with its quick copy: %s", reason)
    return plain_one, [Finding("note", "accelerate", f"The network itself was asked, not its quick copy: {reason}.")]


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


def explain_cases(study: Study, explained: ExplainedRun, chosen: pd.DataFrame, store: CaseStore) -> list[ShownCase]:
    """Explain the cases of the page; those that are there already are read."""
    from lungdet.cli.progress import scan_progress
    from lungdet.explanations.study import ShownCase

    shown = []
    with scan_progress("explain", total=len(chosen), items="cases") as advance:
        for done, row in enumerate(chosen["row"].tolist(), start=1):
            there = store.read(f"shown-{row}")
            if there is None:
                case = study.show(explained.case(row))
                record, arrays = case.to_parts()
                store.write(f"shown-{row}", record, **arrays)
            else:
                case = ShownCase.of_parts(*there)
            shown.append(case)
            advance(done, len(chosen))
    return shown


def measure_cases(
    study: Study, explained: ExplainedRun, choice: CaseChoice, faithfulness: FaithfulnessChoice, store: CaseStore
) -> pd.DataFrame:
    """Measure deletion on more cases than are shown: patient_id, label and the facts of each."""
    import pandas as pd

    from lungdet.cli.explanation_page import rows_of
    from lungdet.cli.progress import scan_progress
    from lungdet.explanations.cases import draw_by_class

    table = explained.predictions[explained.predictions["partition"] == choice.partition]
    drawn = draw_by_class(table, n=faithfulness.n_cases, seed=faithfulness.seed)
    rows = []
    with scan_progress("measure", total=len(drawn), items="cases") as advance:
        for done, case in enumerate(rows_of(drawn), start=1):
            name = f"measured-{case['row']}"
            there = store.read(name)
            facts = there[0] if there is not None else study.measure(explained.case(case["row"]))
            if there is None:
                store.write(name, facts)
            identity = {key: case[key] for key in ("series_uid", "patient_id", "candidate_id", "label", "probability")}
            rows.append({**identity, **facts})
            advance(done, len(drawn))
    return pd.DataFrame(rows)


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
    launch("explain", run)


if __name__ == "__main__":
    main()
