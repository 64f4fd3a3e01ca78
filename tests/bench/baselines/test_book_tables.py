"""The plain table against rows counted by hand, and against ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lungdet.bench.baselines.book_tables import CandidateInfo, measure_book, read_candidate_info, sample_ready
from lungdet.bench.drawn.luna16_folder import TableSizes, write_folder
from lungdet.io.luna16 import read_luna16


def test_reads_what_is_on_disk_and_finds_the_diameter(tmp_path: Path) -> None:
    (tmp_path / "subset0").mkdir()
    (tmp_path / "subset0" / "1.2.mhd").touch()
    (tmp_path / "annotations.csv").write_text(
        "seriesuid,coordX,coordY,coordZ,diameter_mm\n1.2,10,0,0,8\n1.2,50,0,0,4\n"
    )
    (tmp_path / "candidates_V2.csv").write_text(
        "seriesuid,coordX,coordY,coordZ,class\n1.2,0,0,0,0\n1.2,12,0,0,1\n1.2,51.5,0,0,1\n9.9,10,0,0,1\n"
    )
    assert read_candidate_info(tmp_path) == [
        CandidateInfo(True, 8.0, "1.2", (12.0, 0.0, 0.0)),
        CandidateInfo(True, 0.0, "1.2", (51.5, 0.0, 0.0)),  # 1.5 mm off a nodule of 4: further than a quarter
        CandidateInfo(False, 0.0, "1.2", (0.0, 0.0, 0.0)),
    ]


def test_it_has_the_candidates_of_ours(tmp_path: Path) -> None:
    root = write_folder(tmp_path, TableSizes(10, 400, 8))
    ours = read_luna16(root).candidates
    book = read_candidate_info(root)
    assert ours is not None
    assert sum(candidate.is_nodule for candidate in book) == int(ours["is_nodule"].sum())
    columns = ["center_x_mm", "center_y_mm", "center_z_mm"]
    assert np.array_equal(np.sort([c.center_xyz_mm for c in book], axis=0), np.sort(ours[columns].to_numpy(), axis=0))


def test_every_tenth_validates() -> None:
    candidates = [CandidateInfo(n < 5, 0.0, str(n), (0.0, 0.0, 0.0)) for n in range(40)]
    sampled = sample_ready(candidates)
    assert [int(c.series_uid) for c in sampled.validation] == [0, 10, 20, 30]
    assert len(sampled.positives) == 4
    assert len(sampled.negatives) == 32


def test_looking_at_the_tuples_copies_them(tmp_path: Path) -> None:
    cost = measure_book(write_folder(tmp_path, TableSizes(10, 20_000, 8)))
    assert cost.seconds > 0
    assert cost.imports_mb > 1
    # 20,000 tuples of 150 bytes and more, of which at least some pages are written to.
    assert cost.worker_mb is None or cost.worker_mb > 1
