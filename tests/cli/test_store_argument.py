"""`store=` stands for data.store_path, and no address with a password gets as far as a run's folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra

from lungdet.cli.application import launch, with_absolute_paths
from lungdet.cli.store_argument import with_store_path
from lungdet.errors import StoreError


@pytest.mark.parametrize("root", ["train", "preprocess", "explore", "predict", "sanity", "cv", "search", "phantom"])
def test_it_is_spelt_out_where_there_are_data(root: str) -> None:
    words = ["seed=1", "store=s3://bucket/luna16.zarr", "-m"]
    assert with_store_path(words, root=root) == ["seed=1", "data.store_path=s3://bucket/luna16.zarr", "-m"]
    assert with_store_path(["store=stores/a.zarr,stores/b.zarr"], root=root) == [
        "data.store_path=stores/a.zarr,stores/b.zarr"
    ]
    assert with_store_path(["++store=x"], root=root) == ["++data.store_path=x"]


def test_nothing_else_is_touched() -> None:
    assert with_store_path(["store=x"], root="eval") == ["store=x"], "has no data"
    same = ["data.store_path=x", "stor=x", "data.store.codec=none", "restore=x", "--cfg", "job"]
    assert with_store_path(same, root="train") == same


@pytest.mark.parametrize(
    "word",
    [
        "store=s3://key:hunter2@bucket/x",
        "+store=s3://bucket/x,s3://key:hunter2@bucket/x",
        "data.store_path=https://host/x?token=hunter2",
        "++data.store_path='https://host/x?token=hunter2'",
        "paths.stores=s3://key:hunter2@bucket",
    ],
)
def test_an_address_with_a_password_stops_the_command_before_anything_is_written(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StoreError):
        with_store_path([word], root="train")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", word])
    with pytest.raises(SystemExit) as stopped:
        launch("train", lambda cfg: pytest.fail("it ran"))
    assert stopped.value.code == 2
    told = capsys.readouterr().err
    assert "is refused: it would stand in configurations and logs. Type the bare address" in told
    assert "hunter2" not in told
    assert list(tmp_path.iterdir()) == []


def composed(monkeypatch: pytest.MonkeyPatch, *words: str) -> Any:
    GlobalHydra.instance().clear()
    seen: list[Any] = []
    monkeypatch.setattr(sys, "argv", ["preprocess.py", *words])
    launch("preprocess", lambda cfg: seen.append(with_absolute_paths(cfg)))
    return seen[0]


def test_an_address_stays_as_typed_and_a_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert composed(monkeypatch, "store=s3://bucket/a.zarr").data.store_path == "s3://bucket/a.zarr"
    assert composed(monkeypatch, "store=a.zarr").data.store_path == str(tmp_path / "a.zarr")
    cfg = composed(monkeypatch, "data=luna16", "paths.stores=gs://bucket/stores")
    assert cfg.data.store_path == "gs://bucket/stores/luna16.zarr"


def test_near_words_are_still_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    GlobalHydra.instance().clear()
    monkeypatch.setattr(sys, "argv", ["preprocess.py", "data.stor_path=x"])
    with pytest.raises(SystemExit):
        launch("preprocess", lambda cfg: None)
    assert "there is no key 'data.stor_path' in this configuration; did you mean 'data.store_path'?" in (
        capsys.readouterr().err
    )
