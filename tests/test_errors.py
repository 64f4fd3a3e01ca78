"""Every error is ours and the builtin a caller would catch."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from lungdet import errors
from lungdet.errors import ConfigError, LungdetError


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.MissingFileError, FileNotFoundError),
        (errors.ScanError, ValueError),
        (errors.TableError, ValueError),
        (errors.StoreError, RuntimeError),
        (errors.SplitError, ValueError),
        (errors.ShapeError, ValueError),
        (errors.RunError, RuntimeError),
        (errors.ClusterError, ConnectionError),
        (errors.ConfigError, ValueError),
    ],
)
def test_each_leaf_is_two_things(error: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(error, LungdetError)
    assert issubclass(error, builtin)


def test_a_config_error_lists_every_problem() -> None:
    error = ConfigError(["optim.lr: too small", "data.root: missing"])
    assert error.problems == ["optim.lr: too small", "data.root: missing"]
    assert str(error) == "optim.lr: too small\ndata.root: missing"


def test_a_config_error_of_another_process_is_still_readable() -> None:
    error = pickle.loads(pickle.dumps(ConfigError(["optim.lr: too small", "data.root: missing"])))
    assert error.problems == ["optim.lr: too small", "data.root: missing"]
    assert str(error) == "optim.lr: too small\ndata.root: missing"


class Misconfigured(Dataset[torch.Tensor]):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, n: int) -> torch.Tensor:
        raise ConfigError(["optim.lr: too small"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_config_error_of_a_loaders_worker_is_one_problem() -> None:
    with pytest.raises(ConfigError, match=r"optim\.lr: too small") as raised:
        next(iter(DataLoader(Misconfigured(), num_workers=1)))
    assert len(raised.value.problems) == 1
