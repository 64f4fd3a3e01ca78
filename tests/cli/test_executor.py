"""`executor=` and `scheduler=` as they are typed."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from lungdet.cli.executor import make_executor, scheduler_words
from lungdet.config import conf_folder
from lungdet.errors import ConfigError
from lungdet.executors.dask_cluster import DaskExecutor
from lungdet.executors.local import LocalExecutor

ADDRESS = "tcp://127.0.0.1:8786"


@pytest.mark.parametrize("root", ["preprocess", "detect", "mine", "explain"])
def test_every_command_takes_the_words(root: str) -> None:
    words = scheduler_words(["executor=dask", f"scheduler={ADDRESS}"])
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        local, dask = (make_executor(compose(root, overrides=given)) for given in ([], words))
    assert isinstance(local, LocalExecutor)
    assert isinstance(dask, DaskExecutor)
    assert dask.scheduler == ADDRESS


def test_workers_of_preprocess_are_those_of_its_executor() -> None:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        executors = [
            make_executor(compose("preprocess", overrides=["workers=3", f"executor={name}"]))
            for name in ("local", "dask")
        ]
    assert [executor.workers for executor in executors] == [3, 3]  # type: ignore[attr-defined]


def test_other_words_stay() -> None:
    assert scheduler_words(["run=a", "executor.scheduler=x"]) == ["run=a", "executor.scheduler=x"]


def test_a_number_out_of_range_is_told_in_our_words() -> None:
    node = {"executor": {"_target_": "lungdet.executors.local.LocalExecutor", "workers": -2}}
    with pytest.raises(ConfigError, match=r"^executor\.workers=-2 must be at least 1"):
        make_executor(OmegaConf.create(node))
