"""Which file `model.init_from` means, and what is said when that network saw another input."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from lungdet.cli.application import with_absolute_paths
from lungdet.cli.initial_weights import with_initial_weights
from lungdet.config import conf_folder
from lungdet.errors import ConfigError


def train_cfg(folder: Path, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = compose("train", overrides=[f"paths.root={folder}", *overrides])
    return with_absolute_paths(cfg)


def fine_tuning(folder: Path, init_from: str, *overrides: str) -> DictConfig:
    return train_cfg(folder, "model=malignancy", f"model.init_from='{init_from}'", *overrides)


def make_run(folder: Path, name: str, *overrides: str, age: int = 0) -> Path:
    """A run directory with its configuration and an (empty) best checkpoint, written `age` seconds ago."""
    run = folder / "runs" / name
    checkpoint = run / "checkpoints" / "best.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    os.utime(checkpoint, (1e9 - age, 1e9 - age))
    OmegaConf.save(train_cfg(folder, *overrides), run / "config.yaml")
    return run


def found(cfg: DictConfig) -> str:
    path: str = with_initial_weights(cfg, resumed=None).model.init_from
    return path


def test_from_scratch_and_other_models_are_left_alone(tmp_path: Path) -> None:
    for cfg in (train_cfg(tmp_path), train_cfg(tmp_path, "model=malignancy")):
        assert with_initial_weights(cfg, resumed=None) is cfg


def test_a_run_its_name_a_file_and_latest_are_the_same_file(tmp_path: Path) -> None:
    run = make_run(tmp_path, "a", "data.crop.vox=[32,48,48]")
    best = run / "checkpoints" / "best.ckpt"
    for given in (str(run), "a", str(best), "latest"):
        assert found(fine_tuning(tmp_path, given)) == str(best), given


def test_latest_is_the_newest_run_of_this_network_on_other_samples(tmp_path: Path) -> None:
    make_run(tmp_path, "old", age=400)
    fitting = make_run(tmp_path, "fitting", age=300)
    make_run(tmp_path, "other_net", "model=resnet3d18", age=200)
    make_run(tmp_path, "fine_tuned", "model=malignancy", age=100)
    assert found(fine_tuning(tmp_path, "latest")) == str(fitting / "checkpoints" / "best.ckpt")
    with pytest.raises(ConfigError, match="trained a ResNet3d18 on candidates; make one"):
        found(fine_tuning(tmp_path / "empty", "latest", "model.net._target_=lungdet.nets.resnet3d.ResNet3d18"))


def test_no_such_run_and_a_run_without_checkpoint(tmp_path: Path) -> None:
    run = make_run(tmp_path, "a")
    with pytest.raises(ConfigError, match=r"model\.init_from: no run 'b'; the newest below .*: a; or run=latest"):
        found(fine_tuning(tmp_path, "b"))
    (run / "checkpoints" / "best.ckpt").unlink()
    with pytest.raises(ConfigError, match=r"model\.init_from: no checkpoint 'best'"):
        found(fine_tuning(tmp_path, "a"))


def test_another_window_and_spacing_are_refused_with_what_to_type(tmp_path: Path) -> None:
    make_run(tmp_path, "a", "data.window.range_hu=[-1000,1000]", "data.store.spacing_mm=[2,2,2]")
    with pytest.raises(ConfigError) as caught:
        found(fine_tuning(tmp_path, "a"))
    window, spacing = caught.value.problems
    assert window == (
        "model.init_from: that network was trained with data.window.range_hu=[-1000,1000], this run has [-1000,400]; "
        "add data.window.range_hu=[-1000,1000]"
    )
    assert spacing.endswith("add data.store.spacing_mm=[2,2,2]")
    same = ("data.window.range_hu=[-1000,1000]", "data.store.spacing_mm=[2,2,2]")
    assert found(fine_tuning(tmp_path, "a", *same)).endswith("best.ckpt")


def test_another_crop_is_only_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_run(tmp_path, "a", "data.crop.vox=[24,32,32]")
    found(fine_tuning(tmp_path, "a", "data.crop.vox=[32,48,48]"))
    assert "trained with data.crop.vox=[24,32,32], this run has [32,48,48]" in caplog.text


def test_another_split_is_only_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_run(tmp_path, "a", "data.crop.vox=[32,48,48]")
    found(fine_tuning(tmp_path, "a"))
    assert not caplog.records
    found(fine_tuning(tmp_path, "a", "split.fold=1"))
    assert "another split: its training patients may be tested here" in caplog.text


def test_a_lone_file_is_taken_and_its_origin_said_to_be_unknown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lone = tmp_path / "weights" / "some.ckpt"
    lone.parent.mkdir()
    lone.touch()
    assert found(fine_tuning(tmp_path, str(lone))) == str(lone)
    assert "nobody knows what" in caplog.text


def test_the_books_file_asks_for_the_books_input(tmp_path: Path) -> None:
    book = tmp_path / "cls_book.state"
    book.touch()
    with pytest.raises(ConfigError) as caught:
        found(fine_tuning(tmp_path, str(book)))
    typed = [problem.rpartition("; add ")[2] for problem in caught.value.problems]
    assert typed == ["data.window.range_hu=[-1000,1000]", "data.window.scale=hu", "data.store.spacing_mm=native"]
    assert found(fine_tuning(tmp_path, str(book), *typed)) == str(book)


def test_a_resumed_run_keeps_what_it_was_started_from(tmp_path: Path) -> None:
    """`latest` has moved on since, and the file may be gone: neither matters."""
    run = make_run(tmp_path, "fine_tuned", "model=malignancy", "model.init_from=/weights/of/then.ckpt")
    make_run(tmp_path, "newer", age=-50)
    last = run / "checkpoints" / "last.ckpt"
    last.touch()
    resumed = with_initial_weights(fine_tuning(tmp_path, "latest"), resumed=last)
    assert resumed.model.init_from == "/weights/of/then.ckpt"
