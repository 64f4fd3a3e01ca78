"""Only what differs between configurations is shown, and no paths."""

from __future__ import annotations

from tests.comparison.conftest import MakeRun

from lungdet.comparison.settings import Setting, differing_origins, differing_settings


def test_only_what_differs_in_the_order_of_the_file(run: MakeRun) -> None:
    first = {
        "paths": {"root": "/a"},
        "data": {"root": "/a/d", "store_path": "/a/s", "crop": {"vox": [32, 48, 48]}, "batch_size": 8},
        "model": {"_target_": "lungdet.A", "net": {"width": 8}},
        "optim": {"lr": 0.001},
        "scheduler": None,
        "trainer": {"max_epochs": 5, "enable_progress_bar": True},
        "evaluation": {"seed": 0},
    }
    second = {
        "paths": {"root": "/b"},
        "data": {"root": "/b/d", "store_path": "/b/s", "crop": {"vox": [32, 32, 32]}, "batch_size": 8},
        "model": {"_target_": "lungdet.B", "net": {"width": 8, "depth": 3}},
        "optim": {"lr": 1e-3},
        "scheduler": {"_target_": "S"},
        "trainer": {"max_epochs": 5, "enable_progress_bar": False},
        "evaluation": {"seed": 1},
    }
    assert differing_settings([run("a", settings=first), run("b", settings=second)]) == (
        Setting("data.crop.vox", ("[32, 48, 48]", "[32, 32, 32]")),
        Setting("model._target_", ("lungdet.A", "lungdet.B")),
        Setting("scheduler", ("null", "\u2013")),
        Setting("model.net.depth", ("\u2013", "3")),
        Setting("scheduler._target_", ("\u2013", "S")),
    )


def test_origins(run: MakeRun) -> None:
    packages = [{"packages": {"torch": version, "numpy": "2"}} for version in ("2.5", "2.6")]
    runs = [run("a", **packages[0], seed=0, audit="x"), run("b", **packages[1], seed=0, audit="y")]
    assert differing_origins(runs) == (Setting("packages.torch", ("2.5", "2.6")),)
