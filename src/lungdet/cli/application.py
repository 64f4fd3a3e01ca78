"""Runs one command as a Hydra application: composes its YAML, turns every expected failure into one message, exit 2."""

from __future__ import annotations

import difflib
import logging
import multiprocessing
import os
import re
import shutil
import sys
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from omegaconf import DictConfig, ListConfig, OmegaConf

from lungdet.errors import ConfigError, LungdetError

if TYPE_CHECKING:
    from hydra.conf import HydraConf

T = TypeVar("T")

# Keys that hold a path which the user gave relative to where the command was typed.
PATH_KEYS = (
    "paths.root",
    "data.root",
    "data.store_path",
    "data.extra_negatives",
    "data.crop_cache",
    "out",
    "source",
    "input",
    "images",
)

# Those of Hydra that have a place here, and the others that it knows.
_FLAGS_TOLD = "--help, --cfg job, --multirun (-m), --config-dir"
_FLAGS = {
    *("--help", "--cfg", "--multirun", "--config-dir", "--config-path", "--config-name", "--hydra-help", "--info"),
    *("--resolve", "--package", "--run", "--version", "--shell-completion", "--experimental-rerun"),
}

log = logging.getLogger(__name__)


def launch(root: str, task: Callable[[DictConfig], Any]) -> None:
    """Compose `conf/<root>.yaml` with the overrides in sys.argv and call `task(cfg)`.

    Exits with code 2 and one readable message for a wrong configuration or input, with 130 after Ctrl-C. Anything else
    is a defect of ours and keeps its traceback.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from lungdet.cli.lost_jobs import lost_jobs_noted
    from lungdet.cli.store_argument import with_store_path
    from lungdet.cli.sweep_summary import failures as sweep_failures
    from lungdet.cli.sweep_summary import forget_failure, note_failure
    from lungdet.config.location import conf_folder

    # With this, Hydra lets exceptions through instead of printing a shortened trace and leaving with code 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"

    # argparse takes overrides on one side of a flag only; people type `seed=1,2 -m`, and also `-m seed=1,2`.
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: word not in ("-m", "--multirun"))
    try:
        sys.argv[1:] = with_store_path(sys.argv[1:], root=root)
    except LungdetError as error:
        leave([str(error)])
    if wrong := _unknown_flag(sys.argv[1:]):
        leave([wrong])
    if _asks_for_help(sys.argv[1:]):
        _show_help(root)
        return
    if _shows_only(sys.argv[1:]) and {"-m", "--multirun"} & set(sys.argv[1:]):
        leave(["--cfg and --info show one composed configuration, -m runs many; leave one of them out"])
    failures: list[Exception] = []
    sweep_failures.clear()

    def call(cfg: DictConfig) -> Any:
        quiet_known_warnings()
        in_sweep = _sweep_job()
        if in_sweep is not None:
            start_processes_as_usual()
            forget_failure(in_sweep)
        try:
            return task(cfg)
        except (LungdetError, HydraException, OmegaConfBaseException) as error:
            # Kept, not raised: Hydra would announce it in its own words, and a sweep goes on with its other jobs. These
            # may be in other processes, whose failures are found in the jobs' folders.
            failures.append(error)
            if in_sweep is not None:
                note_failure(in_sweep, explain(error, root))
            elif isinstance(error, ConfigError):
                _remove_untouched(HydraConfig.get())
            return None

    try:
        application = hydra.main(config_path=str(conf_folder()), config_name=root, version_base="1.3")(call)
        with lost_jobs_noted(sweep_failures) if {"-m", "--multirun"} & set(sys.argv) else nullcontext():
            application()
    except (LungdetError, HydraException, OmegaConfBaseException) as error:
        failures.append(error)
    except KeyboardInterrupt:
        leave(["interrupted"], code=130)
    told = list(dict.fromkeys(explain(error, root) for error in failures))
    told += [f"{job}: {message}" for job, message in sweep_failures.items() if message not in told]
    if told:
        leave(told)


def start_processes_as_usual() -> None:
    """In a worker of joblib, undo its own way of starting processes.

    It names it as the default, and a process that is started then does not know it: neither a phantom cohort nor the
    workers of a loader could be made.
    """
    if multiprocessing.get_start_method(allow_none=True) == "loky":
        multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)


def _shows_only(words: list[str]) -> bool:
    return any(word.partition("=")[0] in ("--cfg", "-c", "--info", "-i") for word in words)


def _unknown_flag(words: list[str]) -> str:
    """What to type where --key=value was typed: argparse would take --experiment=... for a flag that begins like it."""
    for word in words:
        name, _, value = word.partition("=")
        if name.startswith("--") and name not in _FLAGS:
            plain = f"{name.removeprefix('--')}={value or '...'}"
            return f"there is no flag {name}; keys and groups have no dashes: {plain}; flags: {_FLAGS_TOLD}"
    return ""


def _asks_for_help(words: list[str]) -> bool:
    """Whether --help stands beside overrides alone; beside other flags it is Hydra's own."""
    flags = {word for word in words if word.startswith("-")}
    return bool(flags) and flags <= {"-h", "--help"}


def _show_help(root: str) -> None:
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from lungdet.cli.command_help import command_help

    try:
        shown = command_help(root, [word for word in sys.argv[1:] if not word.startswith("-")])
    except (LungdetError, HydraException, OmegaConfBaseException) as error:
        leave([explain(error, root)])
    sys.stdout.write(f"{shown}\n")


def _remove_untouched(hydra: HydraConf) -> None:
    """Remove the dated folder of a run that was refused: Hydra made it before anything was checked.

    One that was named stays: it may be the job of a sweep or of a search, whose table says that it failed.
    """
    folder = Path(hydra.runtime.output_dir)
    named = any(word.startswith("hydra.run.dir=") for word in hydra.overrides.hydra)
    if not named and (folder / ".hydra").is_dir() and {p.name for p in folder.iterdir()} <= {".hydra", "log.txt"}:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep_job() -> Path | None:
    """The folder of the job that runs here, in a multirun."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    hydra = HydraConfig.get()
    return Path(hydra.runtime.output_dir) if hydra.mode == RunMode.MULTIRUN else None


def explain(error: Exception, root: str) -> str:
    """One message for a person."""
    if isinstance(error.__cause__, LungdetError) and not isinstance(error, LungdetError):
        return explain(error.__cause__, root)  # ours, which Hydra has put into words of its own
    if isinstance(error, ConfigError):
        return f"{len(error.problems)} problem(s) in the configuration:\n" + "\n".join(
            f"  - {p}" for p in error.problems
        )
    return str(error) if isinstance(error, LungdetError) else explain_hydra(error, root)


def leave(lines: list[str], code: int = 2) -> None:
    """Write the message to stderr and end the process with `code`."""
    sys.stderr.write("lungdet: " + "\n".join(lines) + "\n")
    raise SystemExit(code)


def explain_hydra(error: Exception, root: str) -> str:
    """Hydra's message, with the near word where an override names a key that does not exist."""
    cause: BaseException = error
    while cause.__cause__ is not None and not str(cause):
        cause = cause.__cause__
    text = str(cause).strip() or type(cause).__name__
    override = getattr(cause, "override", None)  # of an OverrideParseException, whose text does not repeat it
    if override is not None:
        return f"cannot read the override '{override}': {text.splitlines()[0]}; write key=value"
    match = re.search(r"Could not override '([\w.]+)'", text)
    if match:
        near = _near_key(match.group(1), root)
        hint = (
            f"; did you mean '{near}'?" if near else f"; `lungdet {root.replace('_', '-')} --cfg job` lists every key"
        )
        return f"there is no key '{match.group(1)}' in this configuration{hint}"
    absent = re.search(r"Could not find '(\w[\w/]*)/([^'/]+)'\s+Available options in '[^']+':\n((?:\t.*\n?)+)", text)
    if absent:
        from lungdet.config.nodes import near_word

        return f"{absent[1]}: there is no option '{absent[2]}'{near_word(absent[2], absent[3].split())}"
    unfit = re.search(r"In '([\w/]+)/(\w+)': Could not override '(\w+)(/\w+)?'\. No match", text)
    if unfit:
        chosen = next(
            (word for word in sys.argv[1:] if word.startswith(f"{unfit[3]}=")), f"what is chosen for {unfit[3]}="
        )
        return (
            f"{unfit[1]}={unfit[2]} does not go with {chosen}: it sets {unfit[3]}{unfit[4] or ''}, which is not there; "
            f"choose another {unfit[1]}= or {unfit[3]}="
        )
    where = re.search(r"\n\s*full_key: (\S+)", text)  # OmegaConf names the key last; here the path comes first
    if where:
        return f"{where.group(1)}: {text.splitlines()[0]}"
    return re.sub(r"\n\s*\n", "\n", text)


def _near_key(key: str, root: str) -> str | None:
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from lungdet.config.location import conf_folder

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        choices = [word for word in sys.argv[1:] if re.fullmatch(r"[\w/]+=[\w/]+", word) and _is_group(word)]
        keys = _dotted_keys(OmegaConf.to_container(compose(root, overrides=choices), resolve=False))
    near = difflib.get_close_matches(key, keys, n=1, cutoff=0.6)
    return near[0] if near else None


def _is_group(override: str) -> bool:
    from lungdet.config.location import conf_folder

    group, choice = override.split("=")
    return (conf_folder() / group / f"{choice}.yaml").is_file()


def _dotted_keys(value: Any, path: str = "") -> list[str]:
    if not isinstance(value, dict):
        return []
    keys = []
    for key, inner in value.items():
        here = f"{path}.{key}" if path else str(key)
        keys += [here, *_dotted_keys(inner, here)]
    return keys


def with_absolute_paths(cfg: DictConfig) -> DictConfig:
    """A resolved copy of `cfg` whose path values do not depend on the working directory any more."""
    copy = OmegaConf.create(OmegaConf.to_container(cfg, resolve=False))
    for key in PATH_KEYS:
        value = OmegaConf.select(copy, key)
        if isinstance(value, str):
            OmegaConf.update(copy, key, _absolute(value))
        elif isinstance(value, ListConfig):
            OmegaConf.update(copy, key, [_absolute(v) if isinstance(v, str) else v for v in value])
    resolved = OmegaConf.create(OmegaConf.to_container(copy, resolve=True))
    assert isinstance(resolved, DictConfig)
    return resolved


def _absolute(path: str) -> str:
    return path if "://" in path else str(Path(path).expanduser().resolve())


def quiet_known_warnings() -> None:
    """Silence advice of other libraries that a reader of our logs can do nothing about."""
    # The loaders hand over whole batches from one process by design (docs/benchmarks.md: workers pay off with
    # compression or slow disks only), so "consider increasing num_workers" is not advice here.
    warnings.filterwarnings("ignore", message=r".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=r".*LeafSpec.*is deprecated.*")
    # Small collections have epochs of a few steps; metrics are logged once an epoch anyway.
    warnings.filterwarnings("ignore", message=r".*is smaller than the logging interval.*")
    # Wherever SLURM is installed; a job in which srun was forgotten is refused (lungdet.config.launcher).
    warnings.filterwarnings("ignore", message=r"The `srun` command is available.*")
    for name in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators.cuda", "highdicom"):
        logging.getLogger(name).setLevel(logging.WARNING)
