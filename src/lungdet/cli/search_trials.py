"""The trials of a search: each a training process, watched through its history, stopped when others do better."""

from __future__ import annotations

import logging
import math
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lungdet.cli.search_space import as_override
from lungdet.cli.train_process import start_training
from lungdet.errors import RunError

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

    from lungdet.training.run_directory import RunDirectory

log = logging.getLogger(__name__)

_POLL_S = 0.5
# After the polite signal a training writes its last checkpoint; then it is killed.
_GRACE_S = 30.0
# So many trials in a row that end with an error say something about the settings, not about the trials.
_MOST_FAILURES = 3

# In a trial's attributes: its folder, and the number of the interrupted trial that it goes on with.
DIRECTORY, GOES_ON_WITH = "directory", "goes_on_with"


@dataclass
class RunningTrial:
    """A trial whose training goes on.

    Attributes:
        trial: Optuna's.
        run: its directory.
        process: of the training.
        epochs: rows of the history that Optuna knows already.
    """

    trial: Trial
    run: RunDirectory
    process: subprocess.Popen[bytes]
    epochs: int = 0


@dataclass
class Search:
    """Runs trials until the study holds enough of them.

    Attributes:
        study: with its pruner; the sampler is renewed for every suggestion.
        space: what may vary.
        overrides: what is typed behind `lungdet train` besides.
        folder: of the trials.
        cwd: folder that relative paths are meant from.
        monitor: column of the history that is reported.
        mode: whether its `max` or its `min` is best.
        sampler: number of the trial -> sampler, so that a search that was interrupted suggests what it would have.
        n_trials: finished, stopped and failed ones together.
        jobs: trials beside each other.
        deadline: no new trial after this `time.monotonic()`.
    """

    study: Study
    space: dict[str, BaseDistribution]
    overrides: Sequence[str]
    folder: Path
    cwd: Path
    monitor: str
    mode: str
    sampler: Callable[[int], Any]
    n_trials: int
    jobs: int = 1
    deadline: float = math.inf
    failures: int = field(default=0, init=False)

    def run(self) -> None:
        """Start, watch and finish trials; on an interruption the trainings are stopped and stay resumable.

        Raises:
            RunError: several trainings in a row ended with an error.
        """
        running: list[RunningTrial] = []
        self.take_over_interrupted()
        try:
            while running or self._wants_more(0):
                while len(running) < self.jobs and self._wants_more(len(running)):
                    running.append(self.start())
                time.sleep(_POLL_S)
                running = [one for one in running if not self.watch(one)]
        except BaseException:
            for one in running:
                _stop(one.process)
            raise

    def take_over_interrupted(self) -> None:
        """Let trials that a killed search left behind be tried again, in their folders, where they stopped."""
        from optuna.trial import TrialState

        for left in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            attributes = {DIRECTORY: left.user_attrs.get(DIRECTORY), GOES_ON_WITH: left.number}
            self.study.enqueue_trial(left.params, user_attrs=attributes)
            self.study.tell(left.number, state=TrialState.FAIL)
            log.info("trial %d was interrupted; it goes on", left.number)

    def start(self) -> RunningTrial:
        """Ask for settings and start a training with them."""
        from lungdet.training.run_directory import RunDirectory

        self.study.sampler = self.sampler(len(self.study.get_trials(deepcopy=False)))
        trial = self.study.ask(self.space)
        name = trial.user_attrs.get(DIRECTORY) or f"trial_{trial.number:04d}"
        trial.set_user_attr(DIRECTORY, name)
        settings = [as_override(key, value) for key, value in trial.params.items()]
        log.info("trial %d: %s", trial.number, " ".join(settings))
        run = RunDirectory(self.folder / name)
        process = start_training([*self.overrides, *settings, "ckpt_path=auto"], run.path, cwd=self.cwd)
        return RunningTrial(trial, run, process)

    def watch(self, one: RunningTrial) -> bool:
        """Report new epochs of a trial; True when it is over."""
        from optuna.trial import TrialState

        code = one.process.poll()
        for epoch, value in enumerate(read_history(one.run, self.monitor)[one.epochs :], start=one.epochs):
            one.epochs = epoch + 1
            if math.isnan(value):
                continue
            one.trial.report(value, epoch)
            if code is None and one.trial.should_prune():
                _stop(one.process)
                self.study.tell(one.trial, state=TrialState.PRUNED)
                log.info("trial %d: stopped after epoch %d, %s %.4g", one.trial.number, epoch + 1, self.monitor, value)
                return True
        if code is None:
            return False
        score = one.run.best_score if code == 0 else math.nan
        if code == 0 and not math.isnan(score):
            self.study.tell(one.trial, score)
            self.failures = 0
            log.info("trial %d: %s %.4g, the best so far %.4g", one.trial.number, self.monitor, score, self._best)
            return True
        self.study.tell(one.trial, state=TrialState.FAIL)
        self.failures += 1
        why = f"exit code {code}" if code else f"no {self.monitor}"
        log.warning("trial %d failed (%s): %s", one.trial.number, why, one.run.path)
        if self.failures >= _MOST_FAILURES:
            raise RunError(
                f"{self.failures} trials in a row failed, the last: {one.run.path} ({why}); see log.txt there"
            )
        return True

    @property
    def _best(self) -> float:
        return float(self.study.best_value)

    def _wants_more(self, n_running: int) -> bool:
        return len(self.over()) + n_running < self.n_trials and time.monotonic() < self.deadline

    def over(self) -> list[FrozenTrial]:
        """Trials that came to an end of their own; an interrupted one is represented by that which went on with it."""
        trials = self.study.get_trials(deepcopy=False)
        replaced = {trial.user_attrs.get(GOES_ON_WITH) for trial in trials}
        return [trial for trial in trials if trial.state.is_finished() and trial.number not in replaced]


def read_history(run: RunDirectory, monitor: str) -> list[float]:
    """The monitored metric of every epoch so far; NaN where it is undefined."""
    import pandas as pd

    if not run.history.is_file():
        return []
    table = pd.read_csv(run.history)
    return [float(value) for value in table[monitor]] if monitor in table else [math.nan] * len(table)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
