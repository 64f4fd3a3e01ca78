"""A job of a cluster that left no result: the others are waited for, and it is told at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import submitit
from submitit.core.utils import DelayedSubmission, UncompletedJobError, cloudpickle_dump

from lungdet.cli.lost_jobs import lost_jobs_noted


class EndedJob(submitit.Job[Any]):
    """A job that SLURM says has ended."""

    _results_timeout_s = 0  # what a slow file system is given to show the result

    def wait(self) -> None:
        """It has ended."""

    @property
    def state(self) -> str:
        """What SLURM says of it."""
        return "OUT_OF_MEMORY"


def job(folder: Path, name: str) -> EndedJob:
    found = EndedJob(folder, name)
    DelayedSubmission(print).dump(found.paths.submitted_pickle)
    return found


def test_a_lost_job_is_noted_and_the_sweep_goes_on(tmp_path: Path) -> None:
    lost, fine = job(tmp_path, "7_0"), job(tmp_path, "7_1")
    lost.paths.stderr.write_text("training\nslurmstepd: error: Detected 1 oom_kill event\n")
    cloudpickle_dump(("success", "trained"), fine.paths.result_pickle)
    failures: dict[str, str] = {}
    with lost_jobs_noted(failures):
        (nothing,) = lost.results()
        assert fine.results() == ["trained"]
    assert nothing.return_value is None, "as of a job that failed in its own words"
    assert list(failures) == ["job 7_0"]
    assert failures["job 7_0"].startswith(
        "ended without a result (state OUT_OF_MEMORY, its last words: slurmstepd: error: Detected 1 oom_kill event)"
    )
    assert str(lost.paths.stderr) in failures["job 7_0"]


def test_a_defect_is_shown_with_its_traceback(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    defect = job(tmp_path, "7_2")
    cloudpickle_dump(("error", "Traceback: a defect"), defect.paths.result_pickle)
    failures: dict[str, str] = {}
    with lost_jobs_noted(failures):
        defect.results()
    assert list(failures) == ["job 7_2"]
    assert "Traceback: a defect" in caplog.text


def test_submitit_is_left_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), lost_jobs_noted({}):
        raise KeyboardInterrupt
    with pytest.raises(UncompletedJobError):
        job(tmp_path, "7_3").results()
