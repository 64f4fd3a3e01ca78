"""A run repeated from its own configuration: identical, or told what is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.slow]

Command = Callable[..., None]
Train = Callable[..., Path]


def test_the_same_bits_again(train: Train, lungdet: Command, capsys: pytest.CaptureFixture[str]) -> None:
    run = train("first", "trainer.max_epochs=2", "seed=3")
    lungdet("rerun", f"run={run}")
    again = run.with_name("first_rerun")
    assert (again / "predictions.parquet").read_bytes() == (run / "predictions.parquet").read_bytes()
    record = json.loads((again / "rerun.json").read_text())
    assert record["identical"] is True
    assert record["different_circumstances"] == []
    assert (again / "overrides.txt").read_text() == (run / "overrides.txt").read_text()
    assert "bit for bit" in capsys.readouterr().out


def test_a_prediction_that_was_changed_is_found(
    train: Train, lungdet: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train("changed", "trainer.max_epochs=1")
    table = pd.read_parquet(run / "predictions.parquet")
    table["logit"] = table["logit"].where(table.index != 3, table["logit"] + 0.5)
    table.to_parquet(run / "predictions.parquet")
    provenance = json.loads((run / "provenance.json").read_text())
    provenance["packages"]["torch"] = "1.0"
    (run / "provenance.json").write_text(json.dumps(provenance))
    with pytest.raises(SystemExit) as left:
        lungdet("rerun", f"run={run}")
    assert left.value.code == 1
    assert f"1 of {len(table)} rows differ, by up to 0.5" in capsys.readouterr().err
    record = json.loads((run.with_name("changed_rerun") / "rerun.json").read_text())
    assert record["different_circumstances"][0].startswith("packages.torch: 1.0 then")
