"""The arithmetic of scripts/scaling.py, counted by hand, and that docs/scaling.md shows what it prints."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def scaling() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scaling", ROOT / "scripts" / "scaling.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["scaling"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_chunks_of_a_crop_at_every_place(scaling: ModuleType) -> None:
    """Counted over all 32^3 places that a crop can have in the grid of chunks."""
    touched = [[(start + size - 1) // 32 + 1 for start in range(32)] for size in (32, 48, 48)]
    chunks = np.mean([z * y * x for z, y, x in itertools.product(*touched)])
    rows = np.mean([z * y for z, y in itertools.product(*touched[:2])])
    assert scaling.chunks_per_crop() == pytest.approx((chunks, rows))
    assert chunks == pytest.approx(11.999, abs=0.001)


def test_megabytes_of_a_crop(scaling: ModuleType) -> None:
    costs = scaling.Costs(none_mb=100, lz4_mb=50)
    assert scaling.crop_mb(costs, "none") == pytest.approx(11.999 * 65_536 / 1e6, rel=1e-3)
    assert scaling.crop_mb(costs, "lz4") == pytest.approx(scaling.crop_mb(costs, "none") / 2)


def test_what_limits_follows_from_where_the_store_fits(scaling: ModuleType) -> None:
    costs = scaling.Costs(lz4_mb=50, lz4_crops_per_worker_s=1000, object_latency_ms=100, object_requests_in_flight=100)
    machine = scaling.Machine("m", 1, 1, 11, memory_gb=100, disk_gb=1000, disk_mb_s=370, network_mb_s=37)
    in_memory = scaling.limits(costs, machine, n_scans=1000, codec="lz4")  # 50 GB
    assert in_memory == {"workers": 10_000}
    on_disk = scaling.limits(costs, machine, n_scans=2000, codec="lz4")  # 100 GB: the processes need memory too
    assert on_disk == {"workers": 10_000, "disk": pytest.approx(370 / scaling.crop_mb(costs, "lz4"))}
    remote = scaling.limits(costs, machine, n_scans=30_000, codec="lz4")
    assert remote["network"] == pytest.approx(37 / scaling.crop_mb(costs, "lz4"))
    assert remote["requests"] == pytest.approx(1000 / scaling.chunks_per_crop()[1])
    assert "GPU" not in remote
    with_gpu = scaling.limits(scaling.Costs(gpu_samples_per_s=7), machine, n_scans=10, codec="lz4")
    assert with_gpu["GPU"] == 7


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.02, "20 ms"), (1.0, "1.0 s"), (119, "119.0 s"), (120, "2.0 min"), (7200, "2.0 h"), (40 * 86400, "40 days")],
)
def test_durations(scaling: ModuleType, seconds: float, text: str) -> None:
    assert scaling.duration(seconds) == text


def test_the_page_shows_what_the_script_prints(
    scaling: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["scaling.py"])
    assert scaling.main() == 0
    page = (ROOT / "docs" / "scaling.md").read_text()
    for line in capsys.readouterr().out.splitlines():
        assert line in page, "run python scripts/scaling.py and put its tables into docs/scaling.md"


def test_every_cost_is_an_option(
    scaling: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["scaling.py", "--lz4-mb", "1000", "--gpu-samples-per-s", "10"])
    scaling.main()
    shown = capsys.readouterr().out
    assert "| LUNA16, 888 scans | 0.07 | 0.09 | 0.89 |" in shown
    assert "| LUNA16 | workstation | GPU | 10 |" in shown
