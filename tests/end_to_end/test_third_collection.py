"""docs/images.md walks through a collection of one's own; here its files and its command are taken from it and run."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

PAGE = Path(__file__).parents[2] / "docs" / "images.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


def write_photographs(folder: Path, *, n_people: int = 24) -> None:
    """Two photographs a person; disease is a yellow spot somewhere."""
    folder.mkdir()
    random = np.random.default_rng(0)
    rows = []
    for person in range(n_people):
        for eye in ("left", "right"):
            image = random.normal((150, 60, 30), 20, (70, 90, 3)).clip(0, 255).astype(np.uint8)
            diseased = person % 2
            if diseased:
                y, x = random.integers(8, 50, 2)
                image[y : y + 14, x : x + 14] = (250, 230, 90)
            name = f"{person:02d}_{eye}.png"
            Image.fromarray(image).save(folder / name)
            rows.append((name, diseased, f"person {person}"))
    pd.DataFrame(rows, columns=["image", "disease", "person"]).to_csv(folder / "labels.csv", index=False)


def test_the_walk_through_of_the_docs(tmp_path: Path) -> None:
    (module,) = blocks("python")
    (yaml,) = [block for block in blocks("yaml") if block.startswith("# data/retina.yaml")]
    (commands,) = [block for block in blocks("bash") if "PYTHONPATH" in block]
    (tmp_path / "my/data").mkdir(parents=True)
    (tmp_path / "my/retina.py").write_text(module)
    (tmp_path / "my/data/retina.yaml").write_text(yaml)
    write_photographs(tmp_path / "photos")
    export, command = commands.strip().splitlines()
    name, _, value = export.removeprefix("export ").partition("=")
    words = shlex.split(command)
    assert words[0] == "lungdet"
    done = subprocess.run(
        [Path(sys.executable).with_name("lungdet"), *words[1:], "hydra.run.dir=run", "evaluation.n_resamples=50"],
        cwd=tmp_path,
        env={**os.environ, name: value},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["classes"] == ["healthy", "diabetic"]
    assert report["audit"]["disjoint"]
    predictions = pd.read_parquet(tmp_path / "run/predictions.parquet")
    assert predictions.groupby("patient_id")["series_uid"].nunique().eq(2).all()
    assert "photographs" in (tmp_path / "run/report.html").read_text()
