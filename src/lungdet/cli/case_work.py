"""What `lungdet explain` does with one case, in this process or in another that opens the run anew."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from lungdet.errors import RunError

if TYPE_CHECKING:
    from lungdet.cli.explained_run import ExplainedRun
    from lungdet.evaluation.results import Finding
    from lungdet.executors.outcome import Executor
    from lungdet.executors.prepared import Prepared
    from lungdet.explanations.case_store import CaseStore
    from lungdet.explanations.study import Study

# A record and arrays, as `CaseStore` keeps them.
Parts = tuple[dict[str, Any], dict[str, Any]]


@dataclass(frozen=True)
class CaseStudies:
    """A study and the run whose cases it takes.

    Attributes:
        study: how cases are explained.
        explained: whose cases.
        because: why its classifier is not as quick as could be.
    """

    study: Study
    explained: ExplainedRun
    because: list[Finding]

    def show(self, name: str, row: int) -> Parts:
        """Everything about the case in a row of the records."""
        return self.study.show(self.explained.case(row)).to_parts()

    def measure(self, name: str, row: int) -> Parts:
        """How faithful its explanation is."""
        return self.study.measure(self.explained.case(row)), {}

    def as_work(self, cfg: DictConfig, checkpoint: Path, method: str) -> Prepared[Parts]:
        """`show` or `measure` as work of an executor, which may open the run anew elsewhere."""
        from lungdet.executors.prepared import Prepared

        recipe = {
            "cfg": OmegaConf.to_container(cfg, resolve=True),
            "run": str(self.explained.directory.path.resolve()),
            "checkpoint": str(checkpoint.resolve()),
            "facts": self._facts(),
        }
        return Prepared(make_studies, recipe, method, here=self)

    def _facts(self) -> dict[str, Any]:
        """What has to be the same for the same answers."""
        classifier = self.study.classifier
        ways = [way for way in ("quick", "windows") if getattr(classifier, way, None) is not None]
        facts: dict[str, Any] = json.loads(json.dumps({**self.explained.facts, "quicker ways": ways}))
        return facts


def open_studies(cfg: DictConfig, explained: ExplainedRun) -> CaseStudies:
    """The study that a configuration means."""
    from lungdet.cli.explain import make_classifier
    from lungdet.config.build import build
    from lungdet.explain.fill_rules import resolved
    from lungdet.explanations.study import CurveChoice, Study

    method = build(cfg.explain)
    classifier, because = make_classifier(explained, batch_size=method.batch_size, accelerate=cfg.accelerate)
    study = Study(
        method=method,
        classifier=classifier,
        fill=resolved(method.fill, explained.fill_data()),
        curves=CurveChoice(**cfg.curves),
    )
    return CaseStudies(study, explained, because)


def make_studies(recipe: Mapping[str, Any]) -> CaseStudies:
    """From the recipe of `CaseStudies.as_work`.

    Raises:
        RunError: the run is another here, changed meanwhile, or its network cannot be asked in the same way.
    """
    from lungdet.cli.explained_run import open_explained
    from lungdet.training.run_directory import RunDirectory

    cfg = OmegaConf.create(dict(recipe["cfg"]))
    assert isinstance(cfg, DictConfig)
    explained = open_explained(RunDirectory(Path(recipe["run"])), Path(recipe["checkpoint"]), device=cfg.device)
    studies = open_studies(cfg, explained)
    differing = sorted(name for name, value in studies._facts().items() if recipe["facts"].get(name) != value)
    if differing:
        raise RunError(
            f"this process would explain otherwise ({', '.join(differing)} differ): does it see the same run and data, "
            "and did they change meanwhile? Of other processors, type accelerate=false"
        )
    return studies


def work_out(
    work: Prepared[Parts], rows: Mapping[str, int], store: CaseStore, executor: Executor, *, title: str, shared: Path
) -> dict[str, Parts]:
    """Record and arrays of each case: those that are there are read, the others are worked out and kept.

    Args:
        work: `show` or `measure`.
        rows: name in the store -> row of the records.
        store: of what is there.
        executor: where cases are worked on.
        title: of the progress bar.
        shared: a folder that whoever works has to see.

    Raises:
        RunError: cases that failed where one failure does not end the others' work.
    """
    from lungdet.cli.progress import scan_progress

    found = {name: there for name in rows if (there := store.read(name)) is not None}
    missing = {name: (row,) for name, row in rows.items() if name not in found}
    failures: dict[str, str] = {}
    with scan_progress(title, total=len(rows), items="cases") as advance:
        advance(len(found), len(rows))
        for outcome in executor.run(work, missing, shared=shared):
            if outcome.value is None:
                failures[outcome.name] = str(outcome.failure)
            else:
                record, arrays = found[outcome.name] = outcome.value
                store.write(outcome.name, record, **arrays)
            advance(len(found) + len(failures), len(rows))
    if failures:
        listed = "\n".join(f"  {name}: {message}" for name, message in sorted(failures.items()))
        n = f"{len(failures)} of {len(rows)}"
        raise RunError(f"{n} cases failed; the others are kept, type the same again\n{listed}")
    return found
