"""Which of several processes this one is, where torchrun, srun or a person started them; asked before anything runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lungdet.errors import ConfigError

# Jobs of these names are interactive: processes in them are started by hand, as Lightning sees it too.
_INTERACTIVE = ("bash", "interactive")


@dataclass(frozen=True)
class LaunchedProcess:
    """One of the processes that something outside started for one training.

    Attributes:
        launcher: what started it: `torchrun`, `SLURM` (srun), or `by hand` (one process a node, told by NODE_RANK).
        rank: its number, from 0; by hand that of its node.
        n_processes: how many were started; None by hand, where nobody says.
        per_node: how many on this node; None where nobody says.
        n_nodes: how many nodes; None where nobody says.
        address, port: where the first process is reached.
        served: whether the launcher itself answers there, so that the first process need not.
        job: what all processes of this training, and its repetitions after a requeue, are called alike; "" where they
            have no such name.
    """

    launcher: Literal["torchrun", "SLURM", "by hand"]
    rank: int
    n_processes: int | None
    per_node: int | None
    n_nodes: int | None
    address: str
    port: int
    served: bool = False
    job: str = ""


def launched_process(environment: Mapping[str, str] | None = None) -> LaunchedProcess | None:
    """What the environment says; None for a process that was started alone (Lightning may start others beside it).

    Args:
        environment: the variables; None takes those of this process.

    Raises:
        ConfigError: srun with a number of tasks, but not per node, or in a job that is called interactive; a job of
            several tasks without srun; a variable that is no number.
    """
    env = os.environ if environment is None else environment
    # torchrun first, as Lightning does it: it may run inside a SLURM job.
    if "TORCHELASTIC_RUN_ID" in env:
        return _of_torchrun(env)
    if _number(env, "SLURM_NTASKS", "1") > 1 and env.get("SLURM_JOB_NAME") not in _INTERACTIVE:
        return _of_slurm(env)
    # LOCAL_RANK: Lightning started this one, with the directory of the run on its command line.
    if "NODE_RANK" in env and "MASTER_ADDR" in env and "MASTER_PORT" in env and "LOCAL_RANK" not in env:
        rank, address, port = _number(env, "NODE_RANK"), env["MASTER_ADDR"], _number(env, "MASTER_PORT")
        return LaunchedProcess("by hand", rank, None, None, None, address, port)
    name, tasks = env.get("SLURM_JOB_NAME"), _number(env, "SLURM_STEP_NUM_TASKS", "1")
    if tasks > 1 and name in _INTERACTIVE:
        # salloc calls its jobs so; each task would train by itself, all of them in one directory.
        raise ConfigError(
            [
                f"SLURM: {tasks} tasks in a job called {name}, in which Lightning takes each for one that was started "
                "alone; start with srun --job-name=train"
            ]
        )
    return None


def _is_one_task_of_slurm() -> bool:
    env = os.environ
    by_srun = env.get("SLURM_NTASKS") == "1" and env.get("SLURM_JOB_NAME") not in _INTERACTIVE
    return by_srun and "TORCHELASTIC_RUN_ID" not in env


def _number(env: Mapping[str, str], name: str, default: str = "") -> int:
    given = env.get(name, default)
    try:
        return int(given)
    except ValueError as error:
        raise ConfigError([f"{name}={given} in the environment must be a whole number"]) from error


def _of_torchrun(env: Mapping[str, str]) -> LaunchedProcess | None:
    n_processes, per_node = int(env["WORLD_SIZE"]), int(env["LOCAL_WORLD_SIZE"])
    if n_processes == 1:
        return None
    return LaunchedProcess(
        "torchrun",
        int(env["RANK"]),
        n_processes,
        per_node,
        n_processes // per_node,
        env["MASTER_ADDR"],
        int(env["MASTER_PORT"]),
        served=env.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
    )


def _of_slurm(env: Mapping[str, str]) -> LaunchedProcess:
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

    n_processes, n_nodes = _number(env, "SLURM_NTASKS"), _number(env, "SLURM_NNODES", "1")
    if "SLURM_STEP_ID" not in env:  # the batch script itself: it would wait for the others as the first of them
        raise ConfigError(
            [
                f"SLURM: the job has {n_processes} tasks, and this process was not started by srun; type srun python "
                "train.py ..., or ask for one task"
            ]
        )
    if "SLURM_NTASKS_PER_NODE" not in env:
        raise ConfigError(
            [
                f"SLURM: {n_processes} tasks without a number per node, which Lightning needs; start with "
                f"srun --nodes={n_nodes} --ntasks-per-node={max(1, n_processes // n_nodes)}"
            ]
        )
    job = env.get("SLURM_JOB_ID", "0")
    # Both as Lightning finds them, so that what is agreed on here and the training itself meet at one port.
    address = env.get("MASTER_ADDR") or SLURMEnvironment.resolve_root_node_address(
        env.get("SLURM_NODELIST", "127.0.0.1")
    )
    port = int(env.get("MASTER_PORT") or int(job[-4:]) + 15000)
    return LaunchedProcess(
        "SLURM",
        int(env["SLURM_PROCID"]),
        n_processes,
        int(env["SLURM_NTASKS_PER_NODE"]),
        n_nodes,
        address,
        port,
        job=f"slurm-{job}-{env.get('SLURM_STEP_ID', '0')}",
    )


def process_problems(trainer: Mapping[str, Any], *, batch_size: int | None) -> Iterator[str]:
    """Whether `trainer` asks for the processes that were started, and whether they can share a batch.

    Args:
        trainer: the node, resolved.
        batch_size: over all processes; None where the data have none.
    """
    devices, n_nodes = trainer.get("devices", 1), trainer.get("num_nodes", 1)
    if isinstance(n_nodes, int) and n_nodes < 1:
        yield f"trainer.num_nodes: must be at least 1, got {n_nodes}"
        return
    try:
        me = launched_process()
    except ConfigError as error:
        yield from error.problems
        return
    if me is None:
        if _is_one_task_of_slurm() and isinstance(devices, int) and devices * n_nodes > 1:
            yield (
                f"trainer.devices, trainer.num_nodes: {devices} a node on {n_nodes} node(s) asked for, SLURM started "
                f"one task, and Lightning starts none beside it; use srun --nodes={n_nodes} --ntasks-per-node={devices}"
            )
            return
        if "TORCHELASTIC_RUN_ID" in os.environ and isinstance(devices, int) and devices * n_nodes > 1:
            yield (
                f"trainer.devices, trainer.num_nodes: {devices} a node on {n_nodes} node(s) asked for, torchrun "
                f"started one process, and Lightning starts none beside it; use torchrun --nnodes={n_nodes} "
                f"--nproc-per-node={devices}"
            )
            return
        # A process that Lightning started is one of a training that was checked before.
        if n_nodes > 1 and not {"LOCAL_RANK", "NODE_RANK"} & set(os.environ):
            yield (
                f"trainer.num_nodes: {n_nodes} nodes asked for, and nothing says where they are: it would wait for "
                f"them forever. Start every node with torchrun --nnodes={n_nodes} or srun --nodes={n_nodes} "
                "(docs/clusters.md)"
            )
            return
    elif me.n_nodes is not None and (
        n_nodes != me.n_nodes or (isinstance(devices, int) and devices not in (-1, me.per_node))
    ):
        yield (
            f"trainer.devices, trainer.num_nodes: {devices} a node on {n_nodes} node(s) asked for, {me.launcher} "
            f"started {me.per_node} a node on {me.n_nodes}; type trainer.devices={me.per_node} "
            f"trainer.num_nodes={me.n_nodes}"
        )
        return
    if isinstance(devices, int) and devices > 0 and batch_size is not None and batch_size % (devices * n_nodes):
        n_processes = devices * n_nodes
        yield (
            f"data.batch_size={batch_size} is shared by {n_processes} processes (trainer.devices x nodes) and must be "
            f"a multiple of that; type data.batch_size={-(-batch_size // n_processes) * n_processes}"
        )
