"""`lungdet compare` from run directories to files: what it reads, what it refuses, what it says."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from hydra.core.global_hydra import GlobalHydra
from tests.comparison.conftest import HISTORY, cohort, make_run
from tests.evaluation.mask_examples import make_cohort

from lungdet.cli import compare
from lungdet.evaluation.mask_predictions import write_mask_predictions
from lungdet.evaluation.predictions import write_predictions

Compare = Callable[..., str]
FOLDER_NAMES = ("seed_1", "seed_2", "noise")


def write_run(
    folder: Path, *, seed: int, skill: float = 2.0, noise: float = 0.4, rows: pd.DataFrame | None = None
) -> None:
    """What a finished run leaves that a comparison reads."""
    run = make_run(folder.name, seed=seed, skill=skill, noise=noise, rows=rows)
    write_predictions(run.predictions, folder / "predictions.parquet")
    (folder / "provenance.json").write_text(json.dumps(run.provenance))
    (folder / "config.yaml").write_text(f"paths: {{root: /somewhere}}\noptim: {{lr: 0.001}}\nseed: {seed}\n")
    HISTORY.to_csv(folder / "history.csv", index=False)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs below runs/: two seeds of one network, and a poor one."""
    folder = tmp_path_factory.mktemp("workplace")
    write_run(folder / "runs/seed_1", seed=1)
    write_run(folder / "runs/seed_2", seed=2)
    write_run(folder / "runs/noise", seed=3, skill=0.6, noise=1.5)
    write_run(folder / "runs/other", seed=1, rows=cohort(n_patients=54))
    write_mask_predictions(make_cohort().table(), folder / "runs/unet/predictions.parquet")
    (folder / "detected").mkdir()
    (folder / "detected/detect.json").write_text("{}")
    return folder


@pytest.fixture
def run(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Compare]:
    """Run the command with overrides and 200 resamples; gives stdout and stderr."""

    def call(*overrides: str) -> str:
        arguments = [f"paths.root={workplace}", "evaluation.n_resamples=200", "evaluation.n_gallery=1", *overrides]
        if not any(a.startswith("out=") for a in overrides):
            arguments.append(f"out={tmp_path}")
        monkeypatch.setattr(sys, "argv", ["compare.py", *arguments])
        GlobalHydra.instance().clear()
        compare.main()
        return "".join(capfd.readouterr())

    yield call
    GlobalHydra.instance().clear()


@pytest.fixture
def refused(run: Compare, capfd: pytest.CaptureFixture[str]) -> Compare:
    """The same, expecting exit code 2 and one message, which it gives."""

    def call(*overrides: str) -> str:
        with pytest.raises(SystemExit) as stopped:
            run(*overrides)
        assert stopped.value.code == 2
        said = "".join(capfd.readouterr())
        assert "Traceback" not in said
        return said

    return call


def test_three_runs(run: Compare, tmp_path: Path) -> None:
    said = run("runs=[seed_1,seed_2,noise]")
    assert "seed_1 and seed_2 are not distinguishable: AUROC of seed_2 minus that of seed_1" in said
    assert "noise is worse than seed_1" in said
    assert {p.name for p in tmp_path.iterdir()} == {"compare.json", "compare.html", "compare.md"}
    record = json.loads((tmp_path / "compare.json").read_text())
    assert record["names"] == ["seed_1", "seed_2", "noise"]
    assert record["settings"] == [{"key": "seed", "values": ["1", "2", "3"]}]
    assert "no data of their own" in record["pictures_left_out"]
    assert record["n_resamples"] == 200
    assert len(record["disagreements"]["positives"]) == 1


def test_names_and_the_usual_folder(run: Compare, workplace: Path) -> None:
    run("runs=[seed_1,../runs/noise]", "names=[a,b/c]", f"out={workplace}/mine")
    assert json.loads((workplace / "mine/compare.json").read_text())["names"] == ["a", "b/c"]
    run(f"runs=[{workplace}/runs/seed_1,noise]", "out=null")
    assert (workplace / "comparisons/seed_1_noise/compare.html").is_file()


def test_the_usual_folder_of_many_runs_is_short() -> None:
    names = tuple(f"2026-01-01_00-00-{i:02d}_phantom_luna_cls" for i in range(9))
    assert len(compare.default_folder(names).name) < 100
    assert compare.default_folder(names) != compare.default_folder((*names[:-1], "else"))
    assert compare.default_folder(names).name.startswith("2026-01-01_00-00-00")


def test_refusals(refused: Compare) -> None:
    assert "a comparison takes at least two, got 0; type runs=[first,second]" in refused()
    assert "no run 'nowhere'" in refused("runs=[seed_1,nowhere]")
    said = refused("runs=[seed_1,other]")
    assert "seed_1 and other were not evaluated on the same test rows" in said
    assert "rows only in seed_1" in said
    assert "runs: expects a list, got 'seed_1'" in refused("runs=seed_1")
    assert "did you mean 'names'?" in refused("runs=[seed_1,noise]", "name=[a,b]")


def test_runs_of_different_kinds(refused: Compare) -> None:
    said = refused("runs=[seed_1,unet]")
    assert "seed_1 is a classification run, unet is a segmentation run. Compare runs of one kind" in said


def test_detections_without_annotations(refused: Compare, workplace: Path) -> None:
    other = workplace / "detected_2"
    other.mkdir(exist_ok=True)
    (other / "detect.json").write_text("{}")
    said = refused(f"runs=[{workplace}/detected,{other}]")
    assert "was never compared with annotations" in said
    assert "annotations=..." in said


def test_segmentation_runs(run: Compare, workplace: Path, tmp_path: Path) -> None:
    write_mask_predictions(make_cohort().table(), workplace / "runs/unet_again/predictions.parquet")
    assert "not distinguishable: Dice, whole volume" in run("runs=[unet,unet_again]")
    assert json.loads((tmp_path / "compare.json").read_text())["pairs"][0]["differences"]["dice"]["p"] == 1
