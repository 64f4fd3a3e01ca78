"""Both 2-D tasks from command to report on simulated images, and every command that handles runs of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lungdet.evaluation.predictions import read_predictions

# A few images leave partitions in which a metric is not defined, which is announced and no news here.
pytestmark = pytest.mark.filterwarnings("default")

TRAIN = Path(__file__).parents[2] / "src" / "lungdet" / "cli" / "train.py"
SHORT = (
    "split=holdout",
    "split.val_fraction=0.25",
    "split.test_fraction=0.3",
    "trainer=cpu",
    "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
    "callbacks.progress=null",
    "logger=none",
    "evaluation.n_resamples=50",
    "data.batch_size=16",
)
NETWORK = ("model=transfer2d", "model.net.backbone=test_efficientnet", "optim.lr=0.001")
XRAY = (
    "data=chest_xray_phantom",
    "data.cohort.n_images=80",
    "data.store.size_hw=[32,32]",
    *NETWORK,
    "model.net.in_channels=1",
    *SHORT,
)
# What the recipe of the chest X-rays has: the head first, averaged weights, a rate that falls on a plateau.
RECIPE = (
    *XRAY,
    "callbacks.freezing.head_epochs=1",
    "+callbacks.average._target_=lungdet.training.averaged_weights.AveragedWeights",
    "scheduler=plateau",
    "scheduler.scheduler.patience=0",
)
PATCHES = (
    "data=histopathology_phantom",
    "data.cohort.n_images=60",
    "data.store.size_hw=[32,32]",
    *SHORT,
)
NOTE_OF_DUPLICATES = "pixel-identical images tie the two together, and no split parts them."

Command = Callable[..., None]
Fit = Callable[..., Path]


@pytest.fixture
def fit(workplace: Path, lungdet: Command) -> Fit:
    """`fit("name", *overrides)`: a training in runs/name; the run directory."""

    def run(name: str, *arguments: str) -> Path:
        lungdet("train", *arguments, f"hydra.run.dir={workplace}/runs/{name}")
        return workplace / "runs" / name

    return run


@pytest.fixture
def xray(workplace: Path, fit: Fit) -> Path:
    """The recipe in three epochs, trained by the first test that needs it."""
    run = workplace / "runs" / "xray"
    return run if (run / "report.html").exists() else fit("xray", *RECIPE, "trainer.max_epochs=3")


@pytest.fixture
def patches(workplace: Path, fit: Fit) -> Path:
    """The small network on patches, one epoch."""
    run = workplace / "runs" / "image-patches"
    if (run / "report.html").exists():
        return run
    return fit("image-patches", *PATCHES, "model=patch_cnn", "data/sampling=weighted", "trainer.max_epochs=1")


def checkpoint(run: Path, which: str = "last") -> dict[str, dict[str, torch.Tensor]]:
    found: dict[str, dict[str, torch.Tensor]] = torch.load(run / "checkpoints" / f"{which}.ckpt", weights_only=True)
    return found


def history(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "history.csv").drop(columns="seconds")


def same(expected: Path, found: Path) -> None:
    """Weights, the averaged and the training ones, history and predictions are the same bits."""
    for which in ("best", "last"):
        a, b = checkpoint(expected, which), checkpoint(found, which)
        for part in {"state_dict", "current_net"} & set(a):
            assert a[part].keys() == b[part].keys()
            assert all(torch.equal(a[part][name], b[part][name]) for name in a[part]), (which, part)
    pd.testing.assert_frame_equal(history(expected), history(found), check_exact=True)
    assert (expected / "predictions.parquet").read_bytes() == (found / "predictions.parquet").read_bytes()


def test_the_recipe_on_chest_xrays_leaves_an_honest_report(xray: Path) -> None:
    predictions = read_predictions(xray / "predictions.parquet")
    manifest = pd.read_csv(xray / "manifest.csv")
    assert len(manifest) == 80
    split = json.loads((xray / "split.json").read_text())
    for partition in ("val", "test"):
        assert set(predictions.loc[predictions["partition"] == partition, "patient_id"]) <= set(split[partition])
    assert not set(predictions["patient_id"]) & set(split["train"])
    audit = json.loads((xray / "audit.json").read_text())
    assert audit["scans_hashed"] == 80
    assert audit["shared_patients"] == {}
    assert audit["equal_pixels"] == [], "the pair of identical images lies on one side"
    assert f"1 chest X-ray goes with another patient than the name says: {NOTE_OF_DUPLICATES}" in split["notes"]
    report = json.loads((xray / "report.json").read_text())
    assert report["classes"] == ["normal", "pneumonia"]
    assert report["audit"]["disjoint"]
    page = (xray / "report.html").read_text()
    assert NOTE_OF_DUPLICATES in page
    assert "The shipped val part holds 4 images" in page
    assert "chest X-rays" in page
    assert "candidate" not in json.loads((xray / "provenance.json").read_text())["item"]


@pytest.mark.slow
def test_the_recipe_trains_the_head_first_averages_and_weighs_positives(xray: Path, fit: Fit) -> None:
    found = checkpoint(xray)
    assert found["current_net"].keys() == {name.removeprefix("net.") for name in found["state_dict"]
                                           if name.startswith("net.")}  # fmt: skip
    assert any(not torch.equal(t, found["state_dict"][f"net.{n}"]) for n, t in found["current_net"].items())
    head_only = fit("head-only", *RECIPE, "trainer.max_epochs=1")
    first, third = checkpoint(head_only)["current_net"], found["current_net"]
    stem = next(name for name in first if name.startswith("backbone") and first[name].ndim == 4)
    head = next(name for name in first if name.startswith("head") and first[name].ndim == 2)
    untrained = fit("untrained", *RECIPE, "trainer.max_epochs=1", "optim.lr=1e-12")
    before = checkpoint(untrained)["current_net"]
    assert torch.equal(first[stem], before[stem]), "frozen in the first epoch"
    assert not torch.allclose(first[head], before[head])
    assert not torch.allclose(third[stem], before[stem], atol=1e-6)
    counts = json.loads((xray / "audit.json").read_text())["partitions"]["train"]["labels"]
    assert found["state_dict"]["loss.pos_weight"].item() == pytest.approx(counts["normal"] / counts["pneumonia"])


def test_patches_train_with_weighted_sampling(patches: Path) -> None:
    provenance = json.loads((patches / "provenance.json").read_text())
    assert (provenance["item"], provenance["items"]) == ("patch", "patches")
    assert len(read_predictions(patches / "predictions.parquet")) > 20
    net = checkpoint(patches)["state_dict"]
    statistics = next(Path(patches).parents[1].glob("stores/histopathology_phantom.zarr/statistics.json"))
    mean = json.loads(statistics.read_text())["mean"]
    found = next(value for name, value in net.items() if name.endswith("mean") and value.numel() == 3)
    assert found.flatten().tolist() == pytest.approx(mean, abs=1e-6), "standardised as the collection is"


def test_head_and_stages_have_rates_of_their_own(fit: Fit) -> None:
    run = fit(
        "two-rates", *PATCHES, *NETWORK, "callbacks.freezing.head_epochs=0",
        "callbacks.freezing.then_from=backbone.blocks.2", "model.head_lr=0.003", "model.body_lr=0.0002",
        "trainer.max_epochs=1",
    )  # fmt: skip
    (optimizer,) = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["optimizer_states"]
    assert sorted(group["lr"] for group in optimizer["param_groups"]) == [0.0002, 0.003]


def test_a_resumed_run_equals_an_uninterrupted_one(xray: Path, fit: Fit) -> None:
    """One epoch and two more, with averaged weights, the head first, augmentation and a plateau: the same bits."""
    fit("xray-parts", *RECIPE, "trainer.max_epochs=1")
    same(xray, fit("xray-parts", *RECIPE, "trainer.max_epochs=3", "ckpt_path=last"))


def test_eval_twice_gives_the_same_digits(xray: Path, lungdet: Command) -> None:
    first = {name: (xray / name).read_bytes() for name in ("report.json", "report.html", "curves.parquet")}
    lungdet("eval", f"run={xray}", "evaluation.n_resamples=50")
    assert {name: (xray / name).read_bytes() for name in first} == first


@pytest.mark.slow
def test_killed_in_its_second_epoch_it_ends_with_the_same_bits(xray: Path, workplace: Path) -> None:
    killed = workplace / "runs" / "xray-killed"
    command = [
        sys.executable, str(TRAIN), f"paths.root={workplace}", *RECIPE, "trainer.max_epochs=3", "ckpt_path=auto",
        f"hydra.run.dir={killed}",
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=workplace, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 200
        while not (killed / "history.csv").exists():
            assert process.poll() is None, "it ended before its first epoch was written"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not (killed / "report.json").exists()
    done = subprocess.run(command, cwd=workplace, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    same(xray, killed)


@pytest.mark.slow
def test_one_and_two_processes_train_alike(workplace: Path, fit: Fit, lungdet_process: Command) -> None:
    """The same global batches, augmentations and batch-norm statistics: only the order of sums differs.

    Without dropout, whose masks are drawn in each process by itself, and without Adam, which makes a whole step of a
    gradient that is zero but for rounding.
    """
    settings = (*RECIPE, "model.net.dropout=0", "optim=sgd", "optim.lr=0.01", "trainer.max_epochs=2")
    one, two = fit("xray-one", *settings), workplace / "runs" / "xray-two"
    lungdet_process("train", *settings, "trainer.devices=2", f"hydra.run.dir={two}")
    expected, found = checkpoint(one)["state_dict"], checkpoint(two)["state_dict"]
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4, msg=name)
    a, b = read_predictions(one / "predictions.parquet"), read_predictions(two / "predictions.parquet")
    assert a["series_uid"].equals(b["series_uid"])
    np.testing.assert_allclose(a["logit"], b["logit"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(history(one), history(two), rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_loader_processes_change_nothing(xray: Path, fit: Fit) -> None:
    same(xray, fit("xray-workers", *RECIPE, "trainer.max_epochs=3", "data.num_workers=2"))


@pytest.mark.slow
def test_folds_a_sweep_and_a_comparison_of_images(workplace: Path, lungdet: Command) -> None:
    folds = [word for word in XRAY if not word.startswith("split")]
    out = workplace / "runs" / "xray-cv"
    grouped = ("split=grouped_kfold", "split.n_folds=2", "split.val_fraction=0.3")
    lungdet("cv", *folds, *grouped, "trainer.max_epochs=1", f"out={out}")
    merged = read_predictions(out / "predictions.parquet")
    tested = merged[merged["partition"] == "test"]
    assert len(tested) == tested["series_uid"].nunique() == 80, "every image is tested once"
    assert "chest X-rays" in (out / "report.html").read_text()

    sweep = workplace / "runs" / "xray-sweep"
    lungdet("train", "-m", *XRAY, "sweep=seeds", "seed=1,2", "trainer.max_epochs=1", f"hydra.sweep.dir={sweep}")
    table = pd.read_csv(sweep / "sweep.csv")
    assert sorted(table["seed"]) == [1, 2]
    assert table["test_auroc"].notna().all()

    names = [str(sweep / str(run)) for run in table["run"]]
    lungdet("compare", f"runs=[{','.join(names)}]", "evaluation.n_resamples=100", f"out={workplace}/compared-images")
    record = json.loads((workplace / "compared-images" / "compare.json").read_text())
    assert len(record["pairs"]) == 1
    assert "chest X-rays" in (workplace / "compared-images" / "compare.html").read_text()


def test_official_keeps_the_shipped_test_part(workplace: Path, fit: Fit) -> None:
    words = [word for word in XRAY if not word.startswith("split")]
    run = fit("xray-official", *words, "split=official", "split.val_fraction=0.3", "trainer.max_epochs=1")
    predictions = read_predictions(run / "predictions.parquet")
    tested = predictions.loc[predictions["partition"] == "test", "series_uid"]
    shipped = {path.stem for path in (workplace / "cohorts" / "chest_xray_phantom" / "test").rglob("*.jpeg")}
    assert {Path(name).stem for name in tested} == shipped
    notes = " ".join(json.loads((run / "split.json").read_text())["notes"])
    assert "left out: of patients in the shipped test part, but not in it" in notes


@pytest.mark.slow
def test_a_manifest_and_a_file_that_cannot_be_read(xray: Path, workplace: Path, fit: Fit, tmp_path: Path) -> None:
    source = workplace / "cohorts" / "chest_xray_phantom" / "train"
    rows = []
    for folder, label in (("NORMAL", "normal"), ("PNEUMONIA", "pneumonia")):
        for number, path in enumerate(sorted((source / folder).glob("*.jpeg"))[:22]):
            shutil.copy(path, tmp_path / f"{label}{number}.jpeg")
            rows.append((f"{label}{number}.jpeg", label, f"{label} of {number // 2}"))
    (tmp_path / "normal3.jpeg").write_bytes(b"no picture")
    pd.DataFrame(rows, columns=["path", "label", "group"]).to_csv(tmp_path / "list.csv", index=False)
    words = [word for word in XRAY if not word.startswith(("data=", "data.cohort"))]
    run = fit(
        "xray-manifest", "data=chest_xray", *words, f"data.root={tmp_path}/list.csv",
        f"data.store_path={tmp_path}/store.zarr", "trainer.max_epochs=1",
    )  # fmt: skip
    notes = json.loads((run / "split.json").read_text())["notes"]
    assert "1 of 44 chest X-rays could not be read and are left out." in notes
    manifest = pd.read_csv(run / "manifest.csv")
    assert len(manifest) == 43
    assert not manifest.astype(str).apply(lambda column: column.str.contains("normal3.jpeg")).any(axis=None)
    groups = read_predictions(run / "predictions.parquet").groupby("patient_id")["series_uid"].nunique()
    assert groups.max() == 2


# fmt: off
MISTAKES = {
    "CT network on images": (
        ["data=chest_xray_phantom", "model=luna_cls"], "type a model of images, such as model=transfer2d"
    ),
    "image network on CT": (
        ["data=phantom", "model=transfer2d"], "type a model of volumes, such as model=luna_cls"
    ),
    "colour network on grey": ([*XRAY, "model.net.in_channels=3"], "type model.net.in_channels=1"),
    "grey network on colour": (
        [*PATCHES, "model=patch_cnn", "model.net.in_channels=1"], "type model.net.in_channels=3"
    ),
    "weights of another network": ([*XRAY, "model.weights=imagenet_lite0"], "tf_efficientnet_lite0"),
    "stage that is not there": (
        [*XRAY, "callbacks.freezing.then_from=backbone.layer9", "trainer.max_epochs=1"], "backbone.layer9"
    ),
    "freezing a network without stages": (
        [*PATCHES, "model=patch_cnn", "callbacks=finetune", "trainer.max_epochs=1"], "callbacks.freezing=null"
    ),
    "store of other settings": ([*XRAY, "data.store.size_hw=[48,48]"], "asked [48, 48]"),
}
# fmt: on


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_explained(
    mistake: str, xray: Path, lungdet: Command, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, expected = MISTAKES[mistake]
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        lungdet("train", *arguments, f"hydra.run.dir={workplace}/runs/mistaken")
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert expected in said
    assert "Traceback" not in said
    assert len(said) < 1500


def test_every_check_of_sanity_works_on_images(
    xray: Path, workplace: Path, lungdet: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = (
        f"run={xray}", "shuffled.n_permutations=40", "permuted.n_trainings=1", "permuted.epochs=1", "overfit.steps=2",
        f"out={workplace}/sanity/xray",
    )  # fmt: skip
    with pytest.raises(SystemExit, match="1"):  # two steps teach nothing
        lungdet("sanity", *RECIPE, *settings)
    record = json.loads((workplace / "sanity" / "xray" / "sanity.json").read_text())
    assert set(record["checks"]) == {
        "shuffled_labels", "class_prior", "shortcut", "overfit_one_batch", "permuted_training",
    }  # fmt: skip
    assert record["checks"]["overfit_one_batch"]["verdict"] == "failed"
    numbers = record["checks"]["shortcut"]["numbers"]
    assert numbers["AUROC of the run"]["value"] is not None, "the same test rows as the run's"
    for features in ("border pixels", "size and frame", "file properties"):
        assert any(name.startswith(f"AUROC from {features}") for name in numbers)
    permuted = workplace / "sanity" / "xray" / "permuted_training" / "seed_0"
    assert "permuted at random (seed 0)" in json.loads((permuted / "split.json").read_text())["notes"][-1]
    mine, true = (read_predictions(run / "predictions.parquet").set_index("series_uid") for run in (permuted, xray))
    for partition, is_permuted in (("val", True), ("test", False)):
        rows = true.index[true["partition"] == partition]
        assert mine.loc[rows, "label"].sum() == true.loc[rows, "label"].sum()
        assert bool((mine.loc[rows, "label"] != true.loc[rows, "label"]).any()) is is_permuted
