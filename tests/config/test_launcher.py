"""Which process this is, by what torchrun, srun and a person set; and whether the trainer asks for that."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

from lungdet.config.launcher import LaunchedProcess, launched_process, process_problems
from lungdet.errors import ConfigError

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_USE_AGENT_STORE": "True", "RANK": "5", "LOCAL_RANK": "1",
    "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4", "GROUP_RANK": "1", "MASTER_ADDR": "node0", "MASTER_PORT": "29500",
}  # fmt: skip
ONE_OF_TORCHRUN = TORCHRUN | {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
SRUN = {
    "SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "2", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "2", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NODEID": "1",
    "SLURM_NODELIST": "gpu[07,12-14]",
}  # fmt: skip
BY_HAND = {"NODE_RANK": "1", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "12345"}


@pytest.fixture(autouse=True)
def nothing_of_the_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*TORCHRUN, *SRUN, *BY_HAND, "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)


def set_all(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def test_a_process_that_was_started_alone() -> None:
    assert launched_process({}) is None
    assert launched_process({"SLURM_NTASKS": "1", "SLURM_JOB_ID": "1"}) is None
    assert launched_process(SRUN | {"SLURM_JOB_NAME": "bash"}) is None, "an interactive job"
    assert launched_process(TORCHRUN | {"WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}) is None
    assert launched_process(BY_HAND | {"LOCAL_RANK": "1"}) is None, "Lightning started it and told it where to write"


def test_each_launcher_is_recognised() -> None:
    torchrun = LaunchedProcess("torchrun", 5, 8, 4, 2, "node0", 29500, served=True)
    assert launched_process(TORCHRUN) == torchrun
    assert launched_process(SRUN | TORCHRUN) == torchrun, "torchrun may run inside a job"
    assert launched_process(SRUN) == LaunchedProcess("SLURM", 3, 4, 2, 2, "gpu07", 19711, job="slurm-4711-2")
    assert launched_process(BY_HAND) == LaunchedProcess("by hand", 1, None, None, None, "10.0.0.1", 12345)


def test_lightning_meets_at_the_same_place(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, SRUN)
    me, lightning = launched_process(), SLURMEnvironment()
    assert me is not None
    assert (me.rank, me.n_processes) == (lightning.global_rank(), lightning.world_size())
    assert (me.address, me.port) == (lightning.main_address, lightning.main_port)


@pytest.mark.parametrize(
    ("environment", "name"),
    [(SRUN | {"SLURM_NTASKS": "x"}, "SLURM_NTASKS=x"), (BY_HAND | {"NODE_RANK": ""}, "NODE_RANK=")],
)
def test_a_variable_that_is_no_number_is_named(environment: dict[str, str], name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} in the environment must be a whole number"):
        launched_process(environment)


def test_tasks_without_a_number_per_node_are_refused() -> None:
    environment = {name: value for name, value in SRUN.items() if name != "SLURM_NTASKS_PER_NODE"}
    with pytest.raises(ConfigError, match="srun --nodes=2 --ntasks-per-node=2"):
        launched_process(environment)


def test_the_script_of_a_job_of_several_tasks_is_not_one_of_them() -> None:
    script = {name: value for name, value in SRUN.items() if name != "SLURM_STEP_ID"} | {"SLURM_PROCID": "0"}
    with pytest.raises(ConfigError, match="has 4 tasks, and this process was not started by srun"):
        launched_process(script)
    torchrun = launched_process(script | TORCHRUN)
    assert torchrun is not None


def test_tasks_in_a_job_that_salloc_named_are_refused() -> None:
    """As SLURM 22.05 sets it for `srun` inside `salloc`; a shell of one task there is somebody's own."""
    salloc = SRUN | {"SLURM_JOB_NAME": "interactive", "SLURM_STEP_NUM_TASKS": "4"}
    with pytest.raises(ConfigError, match=r"4 tasks in a job called interactive.*start with srun --job-name=train"):
        launched_process(salloc)
    assert launched_process(salloc | {"SLURM_STEP_NUM_TASKS": "1"}) is None
    torchrun = launched_process(salloc | TORCHRUN)
    assert torchrun is not None
    assert torchrun.launcher == "torchrun"


@pytest.mark.parametrize(
    ("environment", "trainer", "expected"),
    [
        ({}, {"devices": 1, "num_nodes": 1}, None),
        ({}, {"devices": 2, "num_nodes": 1}, None),
        ({}, {"devices": 1, "num_nodes": 2}, "would wait for them forever. Start every node with torchrun --nnodes=2"),
        ({}, {"devices": 1, "num_nodes": 0}, "trainer.num_nodes: must be at least 1, got 0"),
        (BY_HAND, {"devices": 1, "num_nodes": 2}, None),
        ({"LOCAL_RANK": "1"}, {"devices": 2, "num_nodes": 2}, None),
        (TORCHRUN, {"devices": 4, "num_nodes": 2}, None),
        (TORCHRUN, {"devices": "auto", "num_nodes": 2}, None),
        (TORCHRUN, {"devices": 4}, "torchrun started 4 a node on 2; type trainer.devices=4 trainer.num_nodes=2"),
        (TORCHRUN, {"devices": 8, "num_nodes": 2}, "8 a node on 2 node(s) asked for"),
        (ONE_OF_TORCHRUN, {"devices": 1}, None),
        (ONE_OF_TORCHRUN, {"devices": 2}, "; use torchrun --nnodes=1 --nproc-per-node=2"),
        (SRUN, {"devices": 2, "num_nodes": 2}, None),
        ({"SLURM_NTASKS": "1"}, {"devices": 1}, None),
        ({"SLURM_NTASKS": "1"}, {"devices": 8}, "use srun --nodes=1 --ntasks-per-node=8"),
        ({"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "bash"}, {"devices": 8}, None),
        (SRUN, {"devices": 1, "num_nodes": 2}, "SLURM started 2 a node on 2; type trainer.devices=2"),
        ({}, {"devices": 5}, "data.batch_size=32 is shared by 5 processes"),
        (SRUN, {"devices": 2, "num_nodes": 2, "batch_size": 6}, "type data.batch_size=8"),
    ],
)
def test_what_the_trainer_asks_for_has_to_be_what_was_started(
    environment: dict[str, str], trainer: dict[str, object], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, environment)
    batch_size = trainer.pop("batch_size", 32)
    assert isinstance(batch_size, int)
    found = list(process_problems(trainer, batch_size=batch_size))
    assert [expected in text for text in found] == [True] if expected else found == []
