from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch import Tensor

from lungdet.errors import ConfigError, ShapeError
from lungdet.metrics.overlap import average_precision_bounds
from lungdet.metrics.segmentation import (
    MASK_METRIC_NAMES,
    MaskOverlap,
    MeanLoss,
    _added_up,
    logit_histogram,
    scoped_histograms,
)

# Two gloo processes, forked after the slow imports and before any thread exists. Rows 0..3 and 4..6; the second
# process repeats rows 0 and 1, as a padding sampler does. In the second round it has nothing at all.
WORKER = """
import json, os, sys, warnings
import torch, torch.distributed as dist
from datetime import timedelta
from lungdet.metrics.segmentation import MaskOverlap, MeanLoss

folder = sys.argv[1]
child = os.fork()
rank = 0 if child else 1
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2,
                        timeout=timedelta(seconds=60))
data = torch.load(f"{folder}/rows.pt", weights_only=True)
results = []
for shards in ([[0, 1, 2, 3], [4, 5, 6, 0, 1]], [list(range(7)), []]):
    overlap, loss = MaskOverlap(), MeanLoss()
    for batch in torch.tensor(shards[rank], dtype=torch.int64).split(2):
        if len(batch):
            repeat = (batch < 2) & (rank == 1)
            overlap.update(*(data[k][batch] for k in ("logit", "mask", "valid", "near")), repeat)
            loss.update(data["loss"][batch], repeat)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics says that the empty process never called update
        results.append({k: v.item() for k, v in overlap.compute().items()} | {"loss": loss.compute().item()})
json.dump(results, open(f"{folder}/{rank}.json", "w"))
dist.destroy_process_group()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""

Rows = dict[str, Tensor]


@pytest.fixture
def rows() -> Rows:
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(7, 1, 24, 20, generator=generator) < 0.05
    mask[3] = False
    logit = torch.randn(7, 1, 24, 20, generator=generator) * 6 + 9 * mask - 7
    logit[0, 0, :2] = 0.0  # the threshold itself
    valid = torch.rand(7, 1, 24, 20, generator=generator) < 0.9
    near = torch.zeros_like(mask)
    near[:3, :, 4:16, 2:12] = True
    return {"logit": logit, "mask": mask, "valid": valid, "near": near, "loss": torch.arange(7.0)}


def fill(rows: Rows, metric: MaskOverlap | None = None, is_repeat: Tensor | None = None) -> dict[str, float]:
    metric = metric or MaskOverlap()
    for part in (slice(0, 3), slice(3, None)):
        repeats = None if is_repeat is None else is_repeat[part]
        metric.update(rows["logit"][part], rows["mask"][part], rows["valid"][part], rows["near"][part], repeats)
    return {name: value.item() for name, value in metric.compute().items()}


def reference(rows: Rows, where: Tensor) -> dict[str, float]:
    """scikit-learn on the raw logits of the chosen voxels."""
    label, logit = rows["mask"][where].numpy(), rows["logit"][where].numpy()
    called = logit >= 0
    f1 = sk.f1_score(label, called)
    return {
        "dice": f1,
        "precision": sk.precision_score(label, called),
        "recall": sk.recall_score(label, called),
        "f1": f1,
        "average_precision": sk.average_precision_score(label, logit),
    }


def test_equals_scikit_learn_in_both_scopes(rows: Rows) -> None:
    ours = fill(rows)
    whole, crop = reference(rows, rows["valid"]), reference(rows, rows["valid"] & rows["near"])
    assert tuple(ours) == MASK_METRIC_NAMES
    for name in whole:
        within = 0.01 if name == "average_precision" else 1e-6  # few voxels: one pair in one bin shows
        assert ours[name] == pytest.approx(whole[name], abs=within)
        assert ours[f"crop_{name}"] == pytest.approx(crop[name], abs=within)
    assert abs(ours["dice"] - ours["crop_dice"]) > 0.01


@pytest.mark.parametrize("n_bins", [64, 2048])
def test_average_precision_is_that_of_quantised_logits(rows: Rows, n_bins: int) -> None:
    ours = fill(rows, MaskOverlap(n_bins))["average_precision"]
    valid = rows["valid"]
    label, logit = rows["mask"][valid].numpy(), rows["logit"][valid].double().numpy()
    quantised = np.floor(logit / (8 + np.abs(logit)) * (n_bins // 2))
    assert ours == pytest.approx(sk.average_precision_score(label, quantised), abs=1e-6)
    counts = logit_histogram(rows["logit"], rows["mask"], valid=rows["valid"], near=rows["near"], n_bins=n_bins).sum(0)
    negatives, positives = scoped_histograms(counts)[0, :, :-1].numpy()
    low, high = average_precision_bounds(positives, negatives)
    assert low <= sk.average_precision_score(label, logit) <= high


def test_voxels_outside_and_repeated_rows_count_for_nothing(rows: Rows) -> None:
    before = fill(rows)
    outside = ~rows["valid"]
    changed = rows | {"logit": torch.where(outside, math.nan, rows["logit"]), "mask": rows["mask"] | outside}
    assert fill(changed) == before
    doubled = {name: torch.cat([values, values[:4]]) for name, values in rows.items()}
    assert fill(doubled, is_repeat=torch.arange(11) >= 7) == before
    assert fill(doubled) != before


def test_the_histogram_by_hand() -> None:
    """Four bins: x / (8 + |x|) below -1/2, below 0, below 1/2, the rest: edges at logits -8, 0, 8."""
    logit = torch.tensor([[-math.inf, -8.1, -7.9, -1e-30, 0.0, 7.9, 8.1, 1e30, math.inf, math.nan, 3.0]]).view(1, 1, 11)
    mask = torch.tensor([[[False, False, True, False, True, False, False, True, False, False, True]]])
    near = torch.tensor([[[False] * 5 + [True] * 6]])
    valid = torch.tensor([[[True] * 10 + [False]]])
    counts = logit_histogram(logit, mask, valid=valid, near=near, n_bins=4)
    assert counts.dtype == torch.int64
    assert counts.tolist() == [[[[2, 1, 0, 0, 0], [0, 1, 1, 0, 0]], [[0, 0, 1, 2, 1], [0, 0, 0, 1, 0]]]]
    assert scoped_histograms(counts)[0].tolist() == [
        [[2, 1, 1, 2, 1], [0, 1, 1, 1, 0]],
        [[0, 0, 1, 2, 1], [0, 0, 0, 1, 0]],
    ]


def test_rows_have_histograms_of_their_own(rows: Rows) -> None:
    arguments = {name: rows[name] for name in ("valid", "near")}
    whole = logit_histogram(rows["logit"], rows["mask"], **arguments, n_bins=64)
    for i in range(7):
        part = slice(i, i + 1)
        alone = {name: values[part] for name, values in arguments.items()}
        assert torch.equal(logit_histogram(rows["logit"][part], rows["mask"][part], **alone, n_bins=64)[0], whole[i])
    assert whole.sum(dim=(1, 2, 3)).tolist() == rows["valid"].sum(dim=(1, 2, 3)).tolist()


def test_what_has_no_data_is_nan(rows: Rows) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics' own remark about it
        assert all(math.isnan(value.item()) for value in MaskOverlap().compute().values())
        assert math.isnan(MeanLoss().compute().item())
    ours = fill(rows | {"near": torch.zeros_like(rows["near"])})
    assert all(math.isnan(value) == name.startswith("crop_") for name, value in ours.items())
    nothing = fill(rows | {"mask": torch.zeros_like(rows["mask"])})
    assert nothing["dice"] == nothing["precision"] == 0
    assert math.isnan(nothing["recall"])
    assert math.isnan(nothing["average_precision"])


def test_a_nan_logit_makes_its_scope_nan(rows: Rows) -> None:
    place = (rows["valid"] & ~rows["near"]).nonzero()[0].tolist()
    rows["logit"][tuple(place)] = math.nan
    assert all(math.isnan(value) != name.startswith("crop_") for name, value in fill(rows).items())


def test_mean_loss_over_rows_that_are_no_repeats() -> None:
    metric = MeanLoss()
    metric.update(torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([False, False]))
    metric.update(torch.tensor([6.0, math.nan], dtype=torch.bfloat16), torch.tensor([False, True]))
    assert metric.compute().item() == 3.0
    assert not metric.total.requires_grad
    metric.update(torch.tensor([math.nan]), torch.tensor([False]))
    assert math.isnan(metric.compute().item())


@pytest.mark.slow  # the processes import torch a second time
def test_two_processes_give_the_single_process_result(rows: Rows, tmp_path: Path) -> None:
    torch.save(rows, tmp_path / "rows.pt")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)], env=environment, start_new_session=True)
    try:
        assert process.wait(timeout=120) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    expected = fill(rows) | {"loss": 3.0}
    for rank in (0, 1):
        for result in json.loads((tmp_path / f"{rank}.json").read_text()):
            assert result == expected


def test_reset_forgets_and_states_stay_out_of_checkpoints(rows: Rows) -> None:
    metric = MaskOverlap()
    before = fill(rows, metric)
    assert metric.state_dict() == {}
    metric.reset()
    assert fill(rows, metric) == before


def test_whole_slices_are_counted_by_the_hundred() -> None:
    logit = torch.randn(4, 1, 512, 512)
    mask = logit > 2
    metric = MaskOverlap()
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        metric.update(logit, mask, torch.ones_like(mask), mask)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) / 4 < 0.01  # measured 0.002
    assert metric.histogram.sum().item() == 4 * 4 * 512 * 512


def test_other_input_is_refused(rows: Rows) -> None:
    with pytest.raises(ShapeError, match="must have one shape, got"):
        MaskOverlap().update(rows["logit"], rows["mask"][:, 0], rows["valid"], rows["near"])
    with pytest.raises(ConfigError, match=r"n_bins must be even, so that 0\.5 is an edge, got 63"):
        logit_histogram(rows["logit"], rows["mask"], valid=rows["valid"], near=rows["near"], n_bins=63)


def test_the_way_to_count_on_a_gpu_gives_the_same() -> None:
    values = torch.tensor([3, 0, 3, 5, 3], dtype=torch.int32)
    assert _added_up(values, 7).tolist() == [1, 0, 0, 3, 0, 1, 0]
    assert torch.equal(_added_up(values, 7), torch.bincount(values, minlength=7))
