"""The commands on a Dask cluster of two processes: the bytes of local work, also when a worker is killed midway."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.end_to_end.conftest import SMALL
from tests.executors.conftest import small_cluster
from tests.executors.jobs import die_in_next_classification, die_in_next_write

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.slow,
    # Eight small scans hold few nodules: a partition of one class is announced by warnings that are no news here.
    pytest.mark.filterwarnings("default"),
]

Train = Callable[..., Path]
Command = Callable[..., None]

# The other tests' scans are too small to have lungs.
COHORT = ("data.cohort.shape_zyx=[80,100,100]", "data.root=cohorts/lungs", "data.store_path=stores/lungs.zarr")
FEW = ("device=cpu", "cases.n=2", "curves.n_steps=4", "curves.n_random=2", "faithfulness.n_cases=4",
       "faithfulness.n_resamples=20", "random_weights.n_cases=2")  # fmt: skip


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two workers."""
    with small_cluster(n_workers=2) as cluster:
        yield cluster


@pytest.fixture
def dask(cluster: Any) -> tuple[str, str]:
    """What a person types."""
    return "executor=dask", f"scheduler={cluster.scheduler_address}"


@pytest.fixture
def trained(workplace: Path, train: Train) -> Path:
    """A classifier of one epoch, trained by the first test that needs it."""
    run = workplace / "runs" / "for-dask"
    return run if (run / "predictions.parquet").exists() else train("for-dask", "trainer.max_epochs=1", *COHORT)


def prepare_all(cluster: Any, function: Callable[[str], None], flag: Path) -> None:
    from distributed import Client

    flag.touch()
    with Client(cluster.scheduler_address, set_as_default=False) as client:  # type: ignore[no-untyped-call]
        client.run(function, str(flag))


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".writing.lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_preprocess_with_a_killed_worker(
    workplace: Path, lungdet: Command, cluster: Any, dask: tuple[str, str], tmp_path: Path
) -> None:
    prepare_all(cluster, die_in_next_write, tmp_path / "flag")
    data = [word for word in SMALL if not word.startswith("split")]
    lungdet("preprocess", *data, "data.store_path=stores/dask.zarr", *dask)
    assert not (tmp_path / "flag").exists(), "one worker was killed, half a scan written"
    local, theirs = (files(workplace / "stores" / name) for name in ("phantom.zarr", "dask.zarr"))
    assert len(local) > 8 * 3
    assert theirs == local


def test_detect_with_a_killed_worker(
    trained: Path, workplace: Path, lungdet: Command, cluster: Any, dask: tuple[str, str], tmp_path: Path
) -> None:
    usual = ("input=cohorts/lungs", "networks.classifier=for-dask", "device=cpu", "n_shown=1", "n_bootstraps=50",
             "annotations=cohorts/lungs/annotations.csv")  # fmt: skip
    lungdet("detect", *usual, "out=dask-off")
    prepare_all(cluster, die_in_next_classification, tmp_path / "flag")
    lungdet("detect", *usual, "out=dask-on", *dask)
    assert not (tmp_path / "flag").exists(), "one worker was killed"
    local, theirs = (files(workplace / name) for name in ("dask-off", "dask-on"))
    assert len([name for name in local if name.endswith("/detections.json")]) == 8
    assert local.keys() == theirs.keys()
    for name, content in local.items():
        assert without_times(name, content) == without_times(name, theirs[name]), name
    before = files(workplace / "dask-on")
    lungdet("detect", *usual, "out=dask-on", *dask)
    again = files(workplace / "dask-on")
    assert {name for name in again if again[name] != before[name]} <= {"index.html"}, "all was there already"


def without_times(name: str, content: bytes) -> bytes:
    """How long it took is measured, and no two runs agree on it; it stands in the records and on the pages.

    Of a page all digits are left out: what they say of the findings stands in the records and tables, digit by digit.
    """
    if name.endswith(".json"):
        record = json.loads(content)
        return json.dumps({**record, "seconds": None}).encode() if "seconds" in record else content
    slowest = re.compile(rb"[\d.]+ s of it: \w+")
    return re.sub(rb"[\d.]+", b"", slowest.sub(b"", content)) if name.endswith(".html") else content


def test_mine(trained: Path, workplace: Path, lungdet: Command, dask: tuple[str, str]) -> None:
    mining = ("run=for-dask", "pool.background_per_scan=40", "keep.minimum_probability=0", "device=cpu")
    lungdet("mine", *mining, "out=off.csv")
    lungdet("mine", *mining, "out=on.csv", *dask)
    for suffix in (".csv", ".json"):
        assert (workplace / f"on{suffix}").read_bytes() == (workplace / f"off{suffix}").read_bytes()
    assert not (workplace / "on.parts").exists()


@pytest.mark.parametrize("method", ["occlusion", "superpixel", "gradcam", "integrated_gradients"])
def test_explain(method: str, trained: Path, workplace: Path, lungdet: Command, dask: tuple[str, str]) -> None:
    size = ("explain.regions.n_segments=12",) if method == "superpixel" else ()
    for name, words in (("off", ()), ("on", dask)):
        lungdet("explain", "run=for-dask", f"explain={method}", *FEW, *size, f"out=explained-{method}-{name}", *words)
    local, theirs = (files(workplace / f"explained-{method}-{name}") for name in ("off", "on"))
    assert len([name for name in local if name.endswith(".npz")]) == 6
    assert theirs == local


def test_nobody_at_the_address(lungdet: Command, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
    began = time.monotonic()
    with pytest.raises(SystemExit, match="2"):
        lungdet("mine", "run=none", "executor=dask", f"scheduler={address}")
    assert time.monotonic() - began < 20
    assert f"lungdet: executor.scheduler: nobody answers at {address}" in capsys.readouterr().err


def test_a_scheduler_needs_dask(lungdet: Command, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        lungdet("mine", "run=none", "scheduler=tcp://host:8786")
    assert "only a Dask cluster has one; add executor=dask" in capsys.readouterr().err


def test_images_stay_here(lungdet: Command, dask: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        lungdet("preprocess", "data=histopathology_phantom", *dask)
    assert "executor: all images go into one array" in capsys.readouterr().err
