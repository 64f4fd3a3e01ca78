"""What `lungdet train` decides before it trains: where to resume, which trackers, what to propose."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from lungdet.cli.resume import resume_checkpoint, resume_in_place
from lungdet.cli.train import build_loggers, main, propose_bf16, without_requeue
from lungdet.errors import RunError
from lungdet.training.run_directory import RunDirectory


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    return path


def cfg_of(**values: object) -> DictConfig:
    return OmegaConf.create(values)


def test_last_names_the_newest_run_as_this_runs_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "runs" / "a" / "checkpoints" / "last.ckpt")
    expected = f"hydra.run.dir={tmp_path}/runs/a"
    assert resume_in_place(["ckpt_path=last"]) == ["ckpt_path=last", expected]
    assert resume_in_place(["ckpt_path=last", f"paths.root={tmp_path}"])[-1] == expected
    assert resume_in_place(["ckpt_path=last", f"paths.runs={tmp_path}/runs"])[-1] == expected


@pytest.mark.parametrize("arguments", [["seed=1"], ["ckpt_path=last", "hydra.run.dir=x"], ["-m", "ckpt_path=last"]])
def test_otherwise_the_arguments_are_left_alone(arguments: list[str]) -> None:
    assert resume_in_place(arguments) == arguments


def test_nothing_to_resume_is_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", "ckpt_path=last"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "ckpt_path=last: no run with checkpoints/last.ckpt below runs" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_by_word_file_and_run(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "runs" / "a")
    last = touch(run.checkpoints / "last.ckpt")
    touch(run.config)
    paths = {"runs": str(tmp_path / "runs")}
    assert resume_checkpoint(cfg_of(ckpt_path=None, paths=paths), run) is None
    for given in ("last", str(last), str(run.path), "a"):
        assert resume_checkpoint(cfg_of(ckpt_path=given, paths=paths), run) == last
    with pytest.raises(RunError, match="no run 'b'"):
        resume_checkpoint(cfg_of(ckpt_path="b", paths=paths), run)


def test_trackers_that_keep_files_keep_them_in_the_run(tmp_path: Path) -> None:
    nodes = cfg_of(tensorboard={"_target_": "lungdet.training.loggers.TensorBoard"}, other=None)
    (logger,) = build_loggers(nodes, tmp_path)
    assert logger.save_dir == str(tmp_path)


@pytest.mark.parametrize(
    ("precision", "able", "said"), [("32-true", True, True), ("32-true", False, False), ("bf16-mixed", True, False)]
)
def test_bf16_is_proposed_where_it_exists_and_nobody_asked(
    precision: str, able: bool, said: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: able, raising=False)
    with caplog.at_level(logging.INFO):
        propose_bf16(cfg_of(trainer={"precision": precision, "accelerator": "auto"}))
    assert ("trainer.precision=bf16-mixed" in caplog.text) is said


def test_lightning_requeues_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would go on in the middle of an epoch; `ckpt_path=auto` does so after a whole one."""
    for name in ("SLURM_NTASKS", "SLURM_JOB_NAME", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    assert without_requeue() == {}
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert without_requeue()["plugins"].auto_requeue is False
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert without_requeue() == {}, "torchrun inside a job: no environment of SLURM's"
