"""Connects to a Dask scheduler, or starts a cluster of this machine, and says what does not fit, in seconds."""

from __future__ import annotations

import json
import logging
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lungdet.errors import ClusterError, ConfigError
from lungdet.executors.dask_worker import Probe, describe

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

log = logging.getLogger(__name__)

GONE = "executor: the scheduler went away; what is finished is kept, type the same again"

_NEEDED = "lungdet"
"""Of `describe`, what has to be the same; other differences are told."""


@contextmanager
def connected(scheduler: str | None, *, workers: int, timeout_s: float) -> Iterator[Client]:
    """A client whose workers have this lungdet.

    Args:
        scheduler: address, such as tcp://host:8786, or the JSON file that `dask scheduler --scheduler-file` writes;
            None starts a cluster of this machine that ends with the block.
        workers: processes of that cluster, one thread each.
        timeout_s: how long to wait for the scheduler.

    Raises:
        ConfigError: Dask is not installed, or the address is none.
        ClusterError: nobody answers there, or its workers run another lungdet.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ConfigError(
            [f"executor: dask needs the package '{error.name}', which is not installed: pip install 'lungdet[dask]'"]
        ) from error
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        if scheduler is None:
            address = stack.enter_context(_own_cluster(workers)).scheduler_address
        else:
            address = _address(scheduler)
            _reach(address, timeout_s=timeout_s)
        try:
            client = Client(address, timeout=f"{timeout_s}s", set_as_default=False)  # type: ignore[no-untyped-call]
        except (OSError, ValueError) as error:
            raise ClusterError(f"executor.scheduler: {address} does not answer as a Dask scheduler: {error}") from error
        stack.enter_context(client)
        _compare(client)
        yield client


@contextmanager
def probed(client: Client, folder: Path | None) -> Iterator[Probe | None]:
    """A file in the folder while the block runs, which every worker sees.

    Raises:
        ClusterError: one does not, or may not write there; or this process may not.
    """
    if folder is None:
        yield None
        return
    probe = Probe(str(folder / f".lungdet-probe-{uuid.uuid4().hex}"), uuid.uuid4().hex)
    try:
        Path(probe.path).write_text(probe.token, encoding="utf-8")
    except OSError as error:
        raise ClusterError(
            f"executor: {folder} cannot be written to ({error.strerror}); give another folder"
        ) from error
    try:
        answers = _asked(client, probe.problem)
        problems = sorted({str(answer) for answer in answers.values() if answer is not None})
        if problems:
            raise ClusterError(
                f"executor: {'; '.join(problems[:4])}. Scans are read and results written by the workers: mount the "
                "folder under the same path everywhere, or give a path that is"
            )
        yield probe
    finally:
        Path(probe.path).unlink(missing_ok=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what Dask logs: each connection, each process. What matters of it is an outcome or an error of ours."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client", "distributed.gc")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _own_cluster(workers: int) -> LocalCluster:
    """Processes of this machine, with no limit of memory and no dashboard: the same as without Dask."""
    import dask
    from distributed import LocalCluster

    # Not `silence_logs`: it silences the handlers that our own messages go through.
    with dask.config.set({"distributed.nanny.pre-spawn-environ.DASK_LOGGING__DISTRIBUTED": "critical"}):
        return LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=0,
            # The scheduler has a web server all the same; the usual port may be taken by another.
            scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
            silence_logs=False,
        )


def _address(scheduler: str) -> str:
    if not scheduler.endswith(".json"):
        return scheduler
    try:
        return str(json.loads(Path(scheduler).expanduser().read_text(encoding="utf-8"))["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError([f"executor.scheduler: {scheduler} is no file of a Dask scheduler ({error})"]) from error


def _reach(address: str, *, timeout_s: float) -> None:
    """Open and close a plain connection: Dask's own client takes longer to give up and leaves threads behind."""
    from distributed.comm.addressing import get_address_host_port

    try:
        host, port = get_address_host_port(address, strict=True)
    except ValueError as error:
        raise ConfigError([f"executor.scheduler: {address!r} ({error}); give tcp://<host>:<port>"]) from error
    try:
        socket.create_connection((host, port), timeout=timeout_s).close()
    except OSError as error:
        raise ClusterError(
            f"executor.scheduler: nobody answers at {address} ({error}); start a scheduler (dask scheduler), or leave "
            "scheduler= out for a cluster of this machine"
        ) from error


def _compare(client: Client) -> None:
    """Refuse workers that have no lungdet or another one; tell of other packages.

    Raises:
        ClusterError: see above.
    """
    here, found = describe(), _asked(client, describe)
    if not found:
        log.warning("the cluster has no workers yet; the work waits for the first")
    wrong, told = set[str](), set[str]()
    for address, there in found.items():
        if isinstance(there, BaseException):
            wrong.add(f"{address} cannot run lungdet ({type(there).__name__}: {there})")
            continue
        differing = [name for name in here if name != "host" and there.get(name) != here[name]]
        if _NEEDED in differing:
            wrong.add(f"{there['host']} has lungdet {there['lungdet']}, this process {here['lungdet']}")
        told |= {f"{n}: {there.get(n, 'none')} on {there['host']}, {here[n]} here" for n in differing if n != _NEEDED}
    if wrong:
        raise ClusterError(
            f"executor: {'; '.join(sorted(wrong)[:4])}. Install the same lungdet in the environment of the workers "
            "and start them again"
        )
    if told:
        log.warning(
            "results may differ in the last digits, the workers have other versions: %s", "; ".join(sorted(told))
        )


def _asked(client: Client, question: Any) -> Mapping[str, Any]:
    """Worker -> answer, or the error that it answered with; workers that leave meanwhile are left out."""
    answers: dict[str, Any] = client.run(question, on_error="return")
    return {address: answer for address, answer in answers.items() if not isinstance(answer, OSError)}


def n_workers(client: Client) -> int:
    """How many there are now.

    Raises:
        ClusterError: the scheduler does not answer any more.
    """
    with suppress(OSError, TimeoutError, RuntimeError):
        return len(client.nthreads())  # type: ignore[no-untyped-call]
    raise ClusterError(GONE)
