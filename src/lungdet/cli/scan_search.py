"""What `lungdet detect` does with one scan, in this process or in another that makes its own detector."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig, OmegaConf

from lungdet.cli.networks import TASKS
from lungdet.errors import LungdetError, RunError

if TYPE_CHECKING:
    from lungdet.cli.detection_evaluation import Truth
    from lungdet.cli.recipes import Detector, Networks
    from lungdet.cli.scan_results import ResultFolder
    from lungdet.executors.prepared import Prepared
    from lungdet.io.scan_search import FoundScan

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Searched:
    """What became of one scan.

    Attributes:
        headline: what was found, for a person; empty where it failed.
        failure: why there is no result, None where there is one.
        seconds: of every stage, for a person.
    """

    headline: str = ""
    failure: str | None = None
    seconds: str = ""


@dataclass(frozen=True, kw_only=True)
class ScanSearch:
    """Detectors and the folder they write to.

    Attributes:
        cfg: of the command.
        detector: whose result counts.
        second: the book's, where it is asked for beside it.
        results: where files go.
        truth: annotations for the reports.
    """

    cfg: DictConfig
    detector: Detector
    second: Detector | None
    results: ResultFolder
    truth: Truth | None

    def search(self, uid: str, found: FoundScan) -> Searched:
        """Search one scan and write its files; whatever goes wrong must not cost the others their results."""
        from lungdet.cli.detect import search_one
        from lungdet.outputs.detection_page import headline
        from lungdet.pipeline.timing import describe_seconds

        try:
            detections = search_one(
                self.cfg, found, detector=self.detector, second=self.second, results=self.results, truth=self.truth
            )
        except (LungdetError, OSError, MemoryError) as error:
            return Searched(failure=str(error).removeprefix(f"{uid}: ") or type(error).__name__)
        except Exception as error:
            log.exception("%s: please report this", uid)
            return Searched(failure=f"unexpected {type(error).__name__}: {error}")
        return Searched(headline(detections), seconds=describe_seconds(detections.seconds))

    def as_work(self) -> Prepared[Searched]:
        """`search` as work of an executor, which may make it anew elsewhere."""
        from lungdet.executors.prepared import Prepared

        recipe = {
            "cfg": _with_absolute_references(self.cfg),
            "settings": self.results.settings,
            "single": self.results.settings["single"],
        }
        return Prepared(make_search, recipe, "search", here=self)


def make_search(recipe: Mapping[str, Any]) -> ScanSearch:
    """From the recipe of `as_work`.

    Raises:
        RunError: networks or settings are others here, such as a run that was trained again meanwhile.
    """
    from lungdet.cli.detect import load_truth, load_wanted
    from lungdet.cli.scan_results import ResultFolder

    cfg = OmegaConf.create(dict(recipe["cfg"]))
    assert isinstance(cfg, DictConfig)
    detector, second = detectors(cfg, load_wanted(cfg))
    results = ResultFolder(Path(cfg.out), settings=settings_of(cfg, detector, second), single=recipe["single"])
    if results.settings != recipe["settings"]:
        differing = sorted(k for k, v in results.settings.items() if recipe["settings"].get(k) != v)
        raise RunError(
            f"this process would search with other settings ({', '.join(differing)} differ): do networks= name the "
            "same files for it, and did they change meanwhile?"
        )
    return ScanSearch(cfg=cfg, detector=detector, second=second, results=results, truth=load_truth(cfg))


def detectors(cfg: DictConfig, networks: Networks) -> tuple[Detector, Detector | None]:
    """The detector that is asked for, and the book's where it is asked for beside it.

    Raises:
        ConfigError: see `build_detector`.
    """
    from lungdet.cli.recipes import book_detector, build_detector

    detector = build_detector(cfg.pipeline, networks)
    return detector, book_detector(networks) if cfg.with_book and detector.name != "book" else None


def settings_of(cfg: DictConfig, detector: Detector, second: Detector | None) -> dict[str, Any]:
    """All that decides a result, ready for JSON."""
    from lungdet.cli.detect import outputs_of

    return {
        **detector.settings,
        "input": str(Path(cfg.input).resolve()),
        "with_book": second is not None,
        "outputs": outputs_of(cfg),
        "n_shown": cfg.n_shown,
        "dicom_probability": cfg.dicom_probability if outputs_of(cfg) else None,
    }


def _with_absolute_references(cfg: DictConfig) -> dict[str, Any]:
    """The configuration for processes that run in other folders: existing files and runs by their full paths."""
    plain = cast("dict[str, Any]", OmegaConf.to_container(cfg, resolve=True))
    networks = plain["networks"]
    for role in TASKS:
        named = networks[role]
        networks[role] = [_absolute(one) for one in named] if isinstance(named, list) else _absolute(named)
    return {**plain, **{key: _absolute(plain[key]) for key in ("annotations", "excluded")}}


def _absolute(reference: Any) -> Any:
    there = isinstance(reference, str) and Path(reference).expanduser().exists()
    return str(Path(reference).expanduser().resolve()) if there else reference
