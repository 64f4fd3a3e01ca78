"""The commands on a store in an S3 bucket: preprocess, train, predict, explore, explain; keys are seen nowhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.end_to_end.conftest import SMALL
from tests.object_server import Failing

from lungdet.bench.s3_server import S3Server
from lungdet.store.reader import CtStore

URL = "s3://bucket/phantom.zarr"
STORE = f"store={URL}"
# Eight small scans hold few nodules, and one epoch is little: numbers that are undefined announce themselves.
pytestmark = pytest.mark.filterwarnings("default")
OF_DATA = tuple(word for word in SMALL if not word.startswith("split"))


@pytest.fixture
def filled(s3: S3Server, lungdet: Callable[..., None]) -> S3Server:
    lungdet("preprocess", *OF_DATA, "workers=1", STORE)
    return s3


@pytest.mark.slow
def test_training_from_a_bucket_gives_the_numbers_of_the_local_store(
    filled: S3Server, train: Callable[..., Path], lungdet: Callable[..., None], workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    local, remote = CtStore(workplace / "stores/phantom.zarr"), CtStore(URL)
    assert local.series_uids == remote.series_uids
    filled.requests.clear()
    here = train("from_disk", "seed=5", "trainer.max_epochs=1")
    assert filled.requests == []
    there = train("from_bucket", "seed=5", "trainer.max_epochs=1", STORE)
    assert {request.method for request in filled.requests} == {"GET"}
    first, second = (pd.read_parquet(run / "predictions.parquet") for run in (here, there))
    assert np.array_equal(first["logit"], second["logit"])
    config = (there / ".hydra/config.yaml").read_text() + (there / "log.txt").read_text()
    assert f"store_path: {URL}" in config
    for text in (config, (there / "provenance.json").read_text()):
        assert "AWS" not in text
        assert "SECRET" not in text.upper()
    lungdet("predict", f"run={there}", "trainer=cpu", "trainer.enable_progress_bar=false", "evaluation.n_resamples=50")
    again = pd.read_parquet(there / "predictions.parquet")
    assert np.allclose(again["logit"], second["logit"], atol=1e-5)
    lungdet("explain", f"run={there}", "explain=occlusion", "cases.n=1", "faithfulness.n_cases=0", "curves.n_random=1")
    assert list((there / "explanations").rglob("*.html"))


@pytest.mark.slow
def test_explore_reads_a_bucket(filled: S3Server, lungdet: Callable[..., None], tmp_path: Path) -> None:
    filled.requests.clear()
    lungdet("explore", *OF_DATA, STORE, f"out={tmp_path / 'page'}", "n_samples=2", "n_scans=2", "n_preprocessing=0")
    (record,) = [json.loads(path.read_text()) for path in (tmp_path / "page").glob("*.json")]
    assert URL in json.dumps(record)
    assert any(request.range for request in filled.requests), "voxels came from the bucket"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("store=s3://no-bucket/x",), "s3://no-bucket: there is no such bucket"),
        (("store=ftp://host/x",), "store=ftp://host/x is not a place for a store; allowed: a folder, s3://bucket/path"),
        (("store=https://127.0.0.1:9/x",), "https://127.0.0.1:9 cannot be reached after 7 attempts"),
    ],
)
def test_what_cannot_be_reached_is_one_message(
    words: tuple[str, ...], message: str, s3: S3Server, lungdet: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        lungdet("preprocess", *OF_DATA, "workers=1", *words)
    assert stopped.value.code == 2
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told


def test_no_permission_is_one_message(
    filled: S3Server, train: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    filled.before = Failing("403 Forbidden", code="AccessDenied")
    with pytest.raises(SystemExit) as stopped:
        train("denied", STORE)
    assert stopped.value.code == 2
    assert f"{URL}: access denied (403 AccessDenied). Credentials come from the AWS chain" in capsys.readouterr().err


def test_images_stay_local(s3: S3Server, lungdet: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        lungdet("preprocess", "data=chest_xray_phantom", STORE)
    assert f"data.store_path={URL}: stores of images lie in a local folder" in capsys.readouterr().err


@pytest.mark.slow
def test_loader_processes_read_a_bucket(filled: S3Server, train: Callable[..., Path]) -> None:
    run = train("bucket_workers", "seed=5", "trainer.max_epochs=1", "data.num_workers=2", STORE)
    alone = train("bucket_alone", "seed=5", "trainer.max_epochs=1", STORE)
    first, second = (pd.read_parquet(folder / "predictions.parquet") for folder in (run, alone))
    assert np.array_equal(first["logit"], second["logit"])
