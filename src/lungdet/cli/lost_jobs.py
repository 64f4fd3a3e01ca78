"""Jobs of a sweep on a cluster that ended without an answer: killed, out of memory or time, or by a defect."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

log = logging.getLogger(__name__)


@contextmanager
def lost_jobs_noted(failures: MutableMapping[str, str]) -> Iterator[None]:
    """Inside, a job of submitit that left no result counts as failed, and the others are waited for as before.

    Hydra's launcher would end with submitit's traceback at the first such job, leave the others to themselves and write
    no table: the same command again would then start them a second time, in the same folders.

    Args:
        failures: job -> why, for what is told at the end; added to.
    """
    if importlib.util.find_spec("submitit") is None:
        yield
        return
    import submitit
    from hydra.core.utils import JobReturn, JobStatus
    from submitit.core.utils import FailedJobError, UncompletedJobError

    original = submitit.Job.results

    def results(job: submitit.Job[Any]) -> list[Any]:
        try:
            return original(job)
        except UncompletedJobError as error:
            if isinstance(error, FailedJobError):
                log.error("%s", error)  # a defect, with its traceback
            failures[f"job {job.job_id}"] = _reason(job)
            log.warning("job %s: %s", job.job_id, failures[f"job {job.job_id}"])
            return [JobReturn(status=JobStatus.COMPLETED)]

    # The launcher asks its jobs one after the other and keeps the list to itself: no other place sees them all.
    submitit.Job.results = results  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        submitit.Job.results = original  # type: ignore[method-assign]


def _reason(job: Any) -> str:
    """State, last words and log of a lost job."""
    said = (job.stderr() or "").strip().splitlines()
    last = f", its last words: {said[-1][:200]}" if said else ""
    return f"ended without a result (state {job.state}{last}); its output: {job.paths.stdout}, {job.paths.stderr}"
