"""Scans nobody should have given: each ends in a clear error or an honest result, in one batch, with every source."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from tests.cli.chests import BALL, SHARP, chest, run_detect, write_dicom, write_scan
from tests.cli.small_networks import LUNA, SLICES, VOLUME, random_net, write_run

from lungdet.geometry import Geometry
from lungdet.io.scan import Scan

SOURCES = {
    "blobs": SHARP[:2],
    "slices": ("networks.segmentation=slices", "networks.classifier=cls", "networks.malignancy=mal"),
    "patches": ("networks.segmentation=patches", "networks.classifier=resampled"),
}


def head() -> Scan:
    """A skull with a brain of 35 HU and an empty sinus of 12 mL, air around."""
    z, y, x = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * 4.0 for n in (24, 48, 48)], indexing="ij", sparse=True)
    radius = np.sqrt((y / 90) ** 2 + (x / 75) ** 2 + 0 * z)
    hu = np.where(radius < 0.9, 35.0, np.where(radius < 1, 900.0, -1000.0))
    hu[z**2 + (y + 55) ** 2 + x**2 < 14**2] = -1000
    hu += np.random.default_rng(0).normal(0, 5, hu.shape)
    return Scan(np.rint(hu).astype(np.int16), Geometry(hu.shape, (0, 0, 0), (4, 4, 4)), "head")


def fine() -> Scan:
    """Voxels of 0.3 mm: a body of 48 mm with one lung of 24 mL and a ball of 7 mm in it."""
    z, y, x = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * 0.3 for n in (140, 170, 170)], indexing="ij", sparse=True)
    hu = np.where(y**2 + x**2 + 0 * z < 24**2, 40.0, -1000.0)
    hu[z**2 + y**2 + x**2 < 18**2] = -850.0
    hu[z**2 + y**2 + (x - 4) ** 2 < 3.5**2] = 30.0
    hu += np.random.default_rng(0).normal(0, 15, hu.shape)
    return Scan(np.rint(hu).astype(np.int16), Geometry(hu.shape, (0, 0, 0), (0.3, 0.3, 0.3)), "fine")


def cut(path: Path, n_bytes: int) -> None:
    path.write_bytes(path.read_bytes()[:-n_bytes])


def write_garbage(folder: Path) -> None:
    good = chest(BALL)
    write_scan(good, folder / "good.mhd")
    write_scan(chest(), folder / "empty_lung.mhd")
    write_scan(head(), folder / "head.mhd")
    write_scan(chest(BALL, shape=(5, 48, 48)), folder / "five_slices.mhd")
    write_scan(chest(BALL, shape=(1, 48, 48)), folder / "one_slice.mhd")
    write_scan(chest(BALL, shape=(10, 48, 48), spacing_zyx_mm=(10.0, 4.0, 4.0)), folder / "thick.mhd")
    write_scan(fine(), folder / "fine.mhd")
    write_scan(good, folder / "constant.mhd", values=np.full(good.hu.shape, -850, np.int16))
    write_scan(good, folder / "zeros.nrrd", values=np.zeros(good.hu.shape, np.int16))
    write_scan(good, folder / "swapped_bytes.mhd", values=good.hu.byteswap())
    grey = np.clip((good.hu + 1000.0) / 5, 0, 255).astype(np.uint8)
    write_scan(good, folder / "grey_values.nii.gz", values=grey)
    write_scan(good, folder / "no_intercept.mhd", values=(good.hu.clip(-1024) + 1024).astype(np.uint16))
    write_scan(good, folder / "nan.nrrd", values=np.where(good.hu > 0, np.nan, good.hu).astype(np.float32))
    write_scan(good, folder / "huge.nrrd", values=good.hu.astype(np.float64) * 1e6)
    write_scan(good, folder / "short.mhd")
    cut(folder / "short.raw", 1000)
    write_scan(good, folder / "headless.mhd")
    (folder / "headless.raw").unlink()
    for name in ("cut.nii.gz", "cut_nii.nii", "cut_nrrd.nrrd"):
        write_scan(good, folder / name)
        cut(folder / name, 5000)
    write_flat(folder / "flat.mhd", good.hu[0], size="48 48", dimensions=2)
    write_flat(folder / "no_slices.mhd", good.hu[:0], size="48 48 0", dimensions=3)
    (folder / "nothing.nii.gz").write_bytes(b"")
    (folder / "text.nrrd").write_text("not an image")
    slices = write_dicom(good, folder / "dicom_gap", uid="1.2.1")
    slices[7].unlink()
    cut(write_dicom(good, folder / "dicom_cut", uid="1.2.2")[3], 500)
    headers = write_dicom(good, folder / "dicom_headers", uid="1.2.3")
    headers[3].write_bytes(headers[3].read_bytes()[:300])


def write_flat(path: Path, values: npt.NDArray[np.int16], *, size: str, dimensions: int) -> None:
    ones, zeros = " ".join(["1"] * dimensions), " ".join(["0"] * dimensions)
    path.with_suffix(".raw").write_bytes(values.tobytes())
    path.write_text(
        f"ObjectType = Image\nNDims = {dimensions}\nDimSize = {size}\nElementSpacing = {ones}\nOffset = {zeros}\n"
        f"ElementType = MET_SHORT\nElementDataFile = {path.stem}.raw\n"
    )


# Name -> what the message says. Everything else has a result.
FAILURES = {
    "short": "short.raw",
    "headless": "headless.raw",
    "cut": "cut short",
    "cut_nii": "expected 110592 bytes",
    "cut_nrrd": "cannot be read",
    "nan": "NaN or infinite",
    "huge": "do not fit int16",
    "flat": "the image has 2 dimensions",
    "no_slices": "no_slices.mhd",
    "nothing": "not a NIfTI-1",
    "text": "cannot be read",
    "1.2.1": "slices are missing",
    "1.2.2": "damaged pixels",
    "dicom_headers": "003.dcm",
}
NO_LUNGS = ("head", "constant", "zeros", "swapped_bytes", "grey_values", "no_intercept")
SEARCHED = ("good", "empty_lung", "five_slices", "one_slice", "thick", "fine")


@pytest.fixture(scope="module")
def garbage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("garbage")
    write_garbage(folder / "scans")
    write_run(folder / "runs" / "slices", SLICES, role="segmentation", crop=(7, 16, 16))
    write_run(folder / "runs" / "patches", VOLUME, role="segmentation", crop=(16, 32, 32), spacing=[2.0, 2.0, 2.0])
    write_run(folder / "runs" / "cls", crop=(16, 24, 24))
    write_run(folder / "runs" / "mal", role="malignancy", crop=(16, 24, 24))
    write_run(folder / "runs" / "resampled", crop=(16, 24, 24), spacing=[2.0, 2.0, 2.0])
    return folder


@pytest.fixture(scope="module", params=list(SOURCES))
def outcome(request: pytest.FixtureRequest, garbage: Path) -> tuple[str, Path, int]:
    """Kind of source, its results, exit code of one call over all the scans."""
    out = garbage / request.param
    with pytest.raises(SystemExit) as stopped:
        run_detect(garbage, "input=scans", f"out={out}", "n_shown=1", *SOURCES[request.param])
    assert isinstance(stopped.value.code, int)
    return request.param, out, stopped.value.code


def test_what_cannot_be_read_is_named(outcome: tuple[str, Path, int]) -> None:
    _, out, code = outcome
    assert code == 2
    failures = json.loads((out / "failures.json").read_text())
    assert sorted(failures) == sorted(FAILURES)
    for uid, expected in FAILURES.items():
        assert expected in failures[uid], uid
        assert not failures[uid].startswith("unexpected")
        assert uid in (out / "index.html").read_text()


def test_the_rest_has_a_result_and_says_what_to_think_of_it(outcome: tuple[str, Path, int]) -> None:
    kind, out, _ = outcome
    patients = pd.read_csv(out / "patients.csv").set_index("series_uid")
    assert sorted(patients.index) == sorted([*SEARCHED, *NO_LUNGS])
    assert sorted((out / "seriesuids.csv").read_text().split()) == sorted(patients.index)
    score, notes = patients["nodule_probability"], patients["notes"].fillna("")
    for uid in NO_LUNGS:
        assert np.isnan(score[uid]), uid
        assert "no lungs found, so nothing was searched" in notes[uid], uid
    for uid in SEARCHED:
        assert 0 <= score[uid] <= 1, uid
        assert "no lungs" not in notes[uid], uid
    assert "slices are 10 mm apart" in notes["thick"]
    assert "only 20 mm of the chest were scanned" in notes["five_slices"]
    assert "only 4 mm of the chest were scanned" in notes["one_slice"]
    assert "only 26 mL look like lung" in notes["fine"]
    if kind == "slices":
        assert "pixels are 0.3 mm wide" in notes["fine"]
    if kind == "blobs":  # the others have random weights
        found = patients["n_candidates"].to_dict()
        assert {uid: found[uid] for uid in SEARCHED if found[uid]} == dict.fromkeys(
            ["good", "five_slices", "thick", "fine"], 1
        )
        assert score["empty_lung"] == 0
    marks = pd.read_parquet(out / "detections.parquet")
    columns = ["center_x_mm", "center_y_mm", "center_z_mm", "probability", "logit", "diameter_mm", "mean_hu"]
    assert np.isfinite(marks[columns].to_numpy()).all()
    counts = marks.groupby("series_uid")["probability"].count().reindex(patients.index, fill_value=0)
    assert counts.tolist() == patients["n_candidates"].tolist()


def weights(folder: Path, kind: str) -> str:
    net = random_net(LUNA)
    if kind == "NaN":
        next(net.parameters()).data.fill_(np.nan)
    run = write_run(folder / "run", net=net, role="malignancy" if kind == "wrong role" else "classifier")
    if kind == "cut":
        cut(run / "checkpoints" / "best.ckpt", 500)
    return "runs/absent" if kind == "absent" else str(run)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("NaN", "NaN or infinite weights"),
        ("cut", "cannot be read"),
        ("wrong role", "was trained for malignancy, not for candidate_classification"),
        ("absent", "no run 'runs/absent'"),
    ],
)
def test_weights_that_are_no_good(
    kind: str, message: str, garbage: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run_detect(tmp_path, f"input={garbage}/scans/good.mhd", f"networks.classifier={weights(tmp_path, kind)}")
    said = capfd.readouterr().err
    assert said.startswith("lungdet: networks.classifier: ")
    assert message in said
    assert "Traceback" not in said
    assert not (tmp_path / "detections").exists()


def test_a_network_that_answers_nan(garbage: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Finite weights, infinite answers: float32 overflows on the way."""
    net = random_net(LUNA)
    for tensor in net.parameters():
        tensor.data.fill_(1e30)
    write_run(tmp_path / "run", net=net)
    with pytest.raises(SystemExit, match="2"):
        run_detect(tmp_path, f"input={garbage}/scans/good.mhd", f"networks.classifier={tmp_path}/run", *SHARP)
    assert "the classifier gives NaN or infinity for 1 of 1 candidates" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("names", "message"),
    [((), "no scan at any depth"), (("a/ct.mhd", "b/ct.nrrd"), "two scans are called ct")],
)
def test_folders_without_an_unambiguous_scan(
    names: tuple[str, ...], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scans").mkdir()
    for name in names:
        write_scan(chest(), tmp_path / "scans" / name)
    with pytest.raises(SystemExit, match="2"):
        run_detect(tmp_path, "input=scans")
    assert message in capfd.readouterr().err
