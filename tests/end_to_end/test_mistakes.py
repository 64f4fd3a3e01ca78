"""What a person mistypes ends in one readable message and exit code 2, never in a traceback."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from lungdet.cli import train


def fails(
    arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """Run `python train.py ARGUMENTS` in this process; what it wrote to stderr."""
    GlobalHydra.instance().clear()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["train.py", f"paths.root={folder}", *arguments])
    with pytest.raises(SystemExit) as stopped:
        train.main()
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message


# fmt: off
MISTAKES = {
    "misspelt root key": (["modle=luna_cls"], "did you mean 'model'?"),
    "misspelt option": (["model=lunacls"], "luna_cls"),
    "misspelt nested key": (["data.batchsize=8"], "did you mean 'data.batch_size'?"),
    "misspelt key of a partial node": (["+optim.lrr=0.1"], "AdamW has no argument 'lrr'; did you mean 'lr'?"),
    "misspelt key in a nested node": (["+model.net.chanels=3"], "LunaModel has no argument 'chanels'"),
    "wrong type": (["data.batch_size=many"], "data.batch_size: PhantomDataModule expects a whole number"),
    "out of range": (["optim.lr=-1"], "optim: Invalid learning rate: -1"),
    "class that does not exist": (["model.net._target_=lungdet.nets.luna.LunaModle"], "did you mean 'LunaModel'?"),
    "crop too small for the network": (["data.crop.vox=[8,48,48]"], "data/model: "),
    "channels of data and model differ": (["model.net.in_channels=3"], "data/model: "),
    "fold out of range": (["split.fold=7"], "split"),
    "monitor never logged": (["callbacks.checkpoint.monitor=val/auc"], "'val/auc' is never logged; did you mean"),
    "store that is not there": (["data=luna16", "data.root={folder}"], "lungdet preprocess data=luna16"),
    "no GPU here": (["trainer=gpu"], "no CUDA device"),
    "override without a value": (["model"], "model"),
    "checkpoint that is not there": (["ckpt_path=last"], "no run with checkpoints/last.ckpt"),
    "window upside down": (["data.window.range_hu=[400,-1000]"], "data.window"),
    "unknown interpolation": (["data.root=${paths.dta}/x"], "data.root: "),
    "impossible cohort": (["data.cohort.difficulty=9"], "difficulty"),
}
# fmt: on


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_explained(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, expected = MISTAKES[mistake]
    if mistake == "no GPU here":
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    message = fails(
        [a.format(folder=tmp_path) if "{folder}" in a else a for a in arguments], tmp_path, monkeypatch, capsys
    )
    assert expected in message
    assert len(message) < 1500


def test_all_problems_are_listed_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    message = fails(["+optim.lrr=1", "data.batch_size=x", "+data.foo=1"], tmp_path, monkeypatch, capsys)
    assert "3 problem(s)" in message
    assert "optim.lrr" in message
    assert "data.batch_size" in message
    assert "data.foo" in message


def test_a_mistake_leaves_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fails(["optim.lr=-1"], tmp_path, monkeypatch, capsys)
    assert not list(tmp_path.rglob("*.ckpt"))
    assert not (tmp_path / "cohorts").exists()


def test_strategies_that_keep_predictions_to_themselves_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    message = fails(["trainer.devices=2", "trainer.strategy=ddp_spawn"], tmp_path, monkeypatch, capsys)
    assert "predictions would stay in the processes" in message
    assert "trainer.strategy=ddp" in message
