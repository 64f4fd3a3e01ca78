"""Training on several nodes, of which each is a process group of its own on this machine: torchrun, SLURM, by hand."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import pytest
import torch

from lungdet.evaluation.predictions import read_predictions

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.slow]

TRAIN = Path(__file__).parents[2] / "src" / "lungdet" / "cli" / "train.py"
WATCHDOG_S = 400
# The parent's own, should the tests run in a job or in a process of somebody's training.
FOREIGN = ("SLURM_", "TORCHELASTIC_", "MASTER_", "LOCAL_", "NODE_RANK", "RANK", "WORLD_SIZE", "GROUP_", "PL_")

Ended = tuple[int, str]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def start(commands: Sequence[Sequence[str]], environments: Sequence[Mapping[str, str]], cwd: Path) -> list[Ended]:
    """Run one command a node at the same time; exit codes and outputs."""
    base = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    base |= {"OMP_NUM_THREADS": "1"}
    nodes, logs = [], []
    for n, (command, environment) in enumerate(zip(commands, environments, strict=True)):
        home = cwd / f"node{n}"  # a working directory of its own: nothing may hang on it
        home.mkdir(exist_ok=True)
        log = (home / f"out_{time.monotonic_ns()}.txt").open("w+")
        nodes.append(
            subprocess.Popen(command, env={**base, **environment}, cwd=home, stdout=log, stderr=subprocess.STDOUT)
        )
        logs.append(log)
    until = time.monotonic() + WATCHDOG_S
    try:
        codes = [node.wait(max(1.0, until - time.monotonic())) for node in nodes]
    finally:
        for node in nodes:
            node.kill()
    outputs = []
    for log in logs:
        log.seek(0)
        outputs.append(log.read())
        log.close()
    return list(zip(codes, outputs, strict=True))


@pytest.fixture
def words(workplace: Path, tiny_training: tuple[str, ...], tmp_path: Path) -> Callable[..., list[str]]:
    """The command line of a tiny training on two nodes with one process each, its runs below tmp_path."""

    def given(*more: str) -> list[str]:
        return [
            *tiny_training, f"paths.root={workplace}", f"paths.runs={tmp_path}/runs", "trainer.max_epochs=1",
            "trainer.strategy=ddp", "trainer.devices=1", "trainer.num_nodes=2", *more,
        ]  # fmt: skip

    return given


def torchrun(arguments: Sequence[Sequence[str]], cwd: Path) -> list[Ended]:
    port = free_port()
    flags = ["--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1", f"--master-port={port}"]
    program = [sys.executable, "-m", "torch.distributed.run", *flags]
    commands = [[*program, f"--node-rank={n}", str(TRAIN), *words] for n, words in enumerate(arguments)]
    return start(commands, [{}, {}], cwd)


def slurm(arguments: Sequence[Sequence[str]], cwd: Path, *, job: str) -> list[Ended]:
    """What srun --nodes=2 --ntasks-per-node=1 would set."""
    environments = [
        {
            "SLURM_JOB_ID": job, "SLURM_JOB_NAME": "train", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "2",
            "SLURM_NTASKS_PER_NODE": "1", "SLURM_NNODES": "2", "SLURM_NODELIST": "127.0.0.1", "SLURM_PROCID": str(n),
            "SLURM_LOCALID": "0", "SLURM_NODEID": str(n), "MASTER_PORT": str(port),
        }
        for port in [free_port()] for n in range(2)
    ]  # fmt: skip
    return start([[sys.executable, str(TRAIN), *words] for words in arguments], environments, cwd)


def succeeded(ended: list[Ended]) -> None:
    for code, output in ended:
        assert code == 0, output[-4000:]


def weights(run: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return state


def test_two_nodes_of_torchrun_train_as_two_processes_of_one_and_go_on(
    words: Callable[..., list[str]], lungdet_process: Callable[..., None], tmp_path: Path
) -> None:
    succeeded(torchrun([words(), words()], tmp_path))
    (run,) = (tmp_path / "runs").iterdir()  # one directory, not one for each node's clock
    assert run.name.endswith("_phantom_luna_cls")
    log = (run / "log.txt").read_text()
    assert log.count("epoch 1/1") == 1, "only the first process writes"
    assert len(list(run.rglob("*.ckpt"))) == 2
    assert {path.name for path in run.iterdir()} >= {".hydra", "config.yaml", "predictions.parquet", "report.html"}
    assert not [path for n in range(2) for path in (tmp_path / f"node{n}").iterdir() if not path.name.startswith("out")]

    one_node = tmp_path / "one_node"
    lungdet_process(
        "train", *(w for w in words() if "paths.root" not in w), "trainer.devices=2", "trainer.num_nodes=1",
        f"hydra.run.dir={one_node}",
    )  # fmt: skip
    here, there = weights(run), weights(one_node)
    for name in there:
        torch.testing.assert_close(here[name], there[name], rtol=0, atol=0)
    table, expected = (read_predictions(path / "predictions.parquet") for path in (run, one_node))
    assert not table.duplicated(["series_uid", "candidate_id"]).any()
    pd.testing.assert_frame_equal(table, expected)

    succeeded(torchrun([words("ckpt_path=last", "trainer.max_epochs=2")] * 2, tmp_path))
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [run.name]
    assert pd.read_csv(run / "history.csv")["epoch"].tolist() == [0, 1]
    assert json.loads((run / "provenance.json").read_text())["epochs_trained"] == 2


def test_slurm_names_the_run_by_its_job_and_a_requeued_job_goes_on(
    words: Callable[..., list[str]], tmp_path: Path
) -> None:
    succeeded(slurm([words("ckpt_path=auto")] * 2, tmp_path, job="4711"))
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name == "slurm-4711-0_phantom_luna_cls"
    assert len(list(run.rglob("*.ckpt"))) == 2
    first = (run / "predictions.parquet").read_bytes()
    # The job was requeued although it had come to its end: nothing is left to do, on either node.
    ended = slurm([words("ckpt_path=auto")] * 2, tmp_path, job="4711")
    succeeded(ended)
    assert "finished before" in ended[0][1]
    assert (run / "predictions.parquet").read_bytes() == first


def test_what_one_node_cannot_do_ends_both_with_one_message(words: Callable[..., list[str]], tmp_path: Path) -> None:
    """A crop that is too small, on the second node only: alone, the first would wait for it for half an hour."""
    ended = slurm([words(), words("data.crop.vox=[4,24,24]")], tmp_path, job="4712")
    assert [code for code, _ in ended] == [2, 2]
    first, second = (output for _, output in ended)
    assert "lungdet: another process of this training cannot go on, process 1 of 2: " in first
    assert all("data/model: " in output and "Traceback" not in output for output in (first, second))
    assert not (tmp_path / "runs" / "slurm-4712-0_phantom_luna_cls" / "config.yaml").exists()


def test_one_node_that_dies_in_the_middle_ends_the_other(words: Callable[..., list[str]], tmp_path: Path) -> None:
    """The second process is killed while it trains."""
    port = free_port()
    by_hand = [{"NODE_RANK": str(n), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)} for n in range(2)]
    killer = (
        "import os, signal, sys, threading, pathlib, time\n"
        "def kill():\n"
        f"    runs = pathlib.Path({str(tmp_path / 'runs')!r})\n"
        "    while not list(runs.rglob('last.ckpt')): time.sleep(0.02)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "threading.Thread(target=kill, daemon=True).start()\n"
        f"sys.argv = [{str(TRAIN)!r}, *sys.argv[1:]]\n"
        "from lungdet.cli.train import main\n"
        "main()\n"
    )
    long = words("trainer.max_epochs=400")
    ended = start([[sys.executable, str(TRAIN), *long], [sys.executable, "-c", killer, *long]], by_hand, tmp_path)
    assert ended[1][0] == -9
    code, output = ended[0]
    assert code == 2, output[-3000:]
    assert "another process of this training has ended" in output
    (run,) = (tmp_path / "runs").iterdir()
    assert (run / "checkpoints" / "last.ckpt").is_file()
