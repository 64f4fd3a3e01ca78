"""How a command ends: one message and exit code 2 for what a person can mend, a traceback for our own defects."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from lungdet.cli.application import launch, with_absolute_paths
from lungdet.errors import ConfigError, RunError


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    GlobalHydra.instance().clear()
    monkeypatch.chdir(tmp_path)


def ends(monkeypatch: pytest.MonkeyPatch, task: Any, *arguments: str) -> Any:
    monkeypatch.setattr(sys, "argv", ["eval.py", *arguments])
    with pytest.raises(SystemExit) as stopped:
        launch("eval", task)
    return stopped.value.code


def raising(error: BaseException) -> Any:
    def task(cfg: DictConfig) -> None:
        raise error

    return task


def test_a_command_gets_its_composed_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[DictConfig] = []
    monkeypatch.setattr(sys, "argv", ["eval.py", "run=here"])
    launch("eval", seen.append)
    assert seen[0].run == "here"
    assert seen[0].evaluation.n_resamples == 1000


def test_our_errors_are_one_message(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(monkeypatch, raising(RunError("no run 'x'"))) == 2
    assert capsys.readouterr().err == "lungdet: no run 'x'\n"


def test_problems_are_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(monkeypatch, raising(ConfigError(["a: wrong", "b: missing"]))) == 2
    assert capsys.readouterr().err == "lungdet: 2 problem(s) in the configuration:\n  - a: wrong\n  - b: missing\n"


def test_an_interruption_is_no_defect(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(monkeypatch, raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "lungdet: interrupted\n"


def test_a_defect_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["eval.py"])
    with pytest.raises(ZeroDivisionError):
        launch("eval", raising(ZeroDivisionError()))


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("evaluation.n_resample=3", "there is no key 'evaluation.n_resample' in this configuration; did you mean"),
        ("zzzzzz=3", "`lungdet eval --cfg job` lists every key"),
        ("evaluation=defualt", "lungdet: evaluation: there is no option 'defualt'; did you mean 'default'?\n"),
        ("evaluation=zzz", "lungdet: evaluation: there is no option 'zzz'; allowed: default\n"),
        (
            "--experiment=a",
            "there is no flag --experiment; keys and groups have no dashes: experiment=a; flags: --help",
        ),
        ("--quick", "there is no flag --quick; keys and groups have no dashes: quick=...; flags: --help"),
        ("run={", "cannot read the override 'run={'"),
    ],
)
def test_what_hydra_refuses_is_said_in_a_sentence(
    override: str, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends(monkeypatch, raising(AssertionError()), override) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    "order", [["-m", "run=a,b"], ["run=a,b", "-m"], ["run=a,b", "--multirun", "evaluation.seed=1"]]
)
def test_a_flag_may_stand_anywhere_and_a_sweep_goes_on_after_a_failure(
    order: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    seen: list[str] = []

    def task(cfg: DictConfig) -> None:
        seen.append(cfg.run)
        raise RunError(f"no run '{cfg.run}'")

    assert ends(monkeypatch, task, *order, f"hydra.sweep.dir={tmp_path}") == 2
    assert seen == ["a", "b"]
    assert capsys.readouterr().err.endswith("lungdet: no run 'a'\nno run 'b'\n")


def test_a_refused_run_leaves_no_dated_folder_but_one_that_was_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for words in ([], [f"hydra.run.dir={tmp_path}/runs/named"]):
        monkeypatch.setattr(sys, "argv", ["train.py", *words])
        GlobalHydra.instance().clear()
        with pytest.raises(SystemExit):
            launch("train", raising(ConfigError(["seed: no"])))
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["named"]


def test_a_refused_run_keeps_what_others_put_into_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def task(cfg: DictConfig) -> None:
        (folder,) = (tmp_path / "runs").iterdir()
        (folder / "notes.txt").touch()
        raise ConfigError(["seed: no"])

    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(SystemExit):
        launch("train", task)
    assert len(list(tmp_path.glob("runs/*/notes.txt"))) == 1


def test_choices_that_do_not_go_together_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "data=chest_xray", "model=unet_seg"])
    with pytest.raises(SystemExit):
        launch("train", raising(AssertionError()))
    assert capsys.readouterr().err == (
        "lungdet: model=unet_seg does not go with data=chest_xray: it sets data/samples, which is not there; "
        "choose another model= or data=\n"
    )


def test_help_is_composed_and_commented_and_calls_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["eval.py", "run=a", "--help"])
    launch("eval", raising(AssertionError()))
    shown = capsys.readouterr().out
    assert shown.startswith("lungdet eval. A run's predictions table -> report.json")
    assert "  # A run directory, its name below paths.runs, or latest.\n  run: a\n" in shown


def test_help_of_a_mistake_is_that_mistake(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(monkeypatch, raising(AssertionError()), "evaluaton.seed=1", "--help") == 2
    assert "there is no key 'evaluaton.seed' in this configuration; did you mean" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["-m", "--cfg", "job"], ["--info=defaults", "--multirun"]])
def test_showing_and_sweeping_at_once_is_told_in_one_line(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends(monkeypatch, lambda cfg: None, *words) == 2
    assert "leave one of them out" in capsys.readouterr().err


def test_paths_are_absolute_before_anything_is_kept(tmp_path: Path) -> None:
    cfg = OmegaConf.create(
        {
            "paths": {"root": ".", "runs": "${.root}/runs"},
            "data": {"root": "x", "store_path": "s3://bucket/x"},
            "out": None,
        }
    )
    resolved = with_absolute_paths(cfg)
    assert resolved.paths.runs == f"{tmp_path}/runs"
    assert resolved.data.root == f"{tmp_path}/x"
    assert resolved.data.store_path == "s3://bucket/x"
    assert cfg.paths.root == ".", "the given configuration is left alone"


def test_every_path_of_a_list_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cfg = OmegaConf.create({"data": {"extra_negatives": ["a/mined.csv", "s3://bucket/b.csv"]}, "input": "scans"})
    resolved = with_absolute_paths(cfg)
    assert list(resolved.data.extra_negatives) == [str(tmp_path / "a" / "mined.csv"), "s3://bucket/b.csv"]
    assert resolved.input == str(tmp_path / "scans")
