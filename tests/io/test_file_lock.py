"""Two real processes and one lock: refused, or one after the other."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from lungdet.errors import StoreError
from lungdet.io.file_lock import sole_holder

HOLDER = """
import sys, time
from pathlib import Path
from lungdet.io.file_lock import sole_holder
with sole_holder(Path(sys.argv[1]), busy=""):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def holder(lock: Path, seconds: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_holder_is_refused_until_the_first_has_died(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with holder(lock, 60) as process:
        with pytest.raises(StoreError, match="somebody else"), sole_holder(lock, busy="somebody else"):
            pass
        process.kill()
        process.wait()
        with sole_holder(lock, busy="somebody else"):
            pass


def test_or_waits_for_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lock = tmp_path / "lock"
    with holder(lock, 0.7):
        started = time.monotonic()
        with caplog.at_level("INFO"), sole_holder(lock, busy="waiting", waits=True):
            assert time.monotonic() - started > 0.3
    assert "waiting" in caplog.text


SCRIPT = """
import multiprocessing, sys
from pathlib import Path
from lungdet.io.file_lock import sole_holder

with sole_holder(Path(sys.argv[1]), busy="busy", waits=True):
    process = multiprocessing.get_context("spawn").Process(target=print)
    process.start()
    process.join()
    print("exit code", process.exitcode)
"""


def test_a_script_without_a_main_guard_does_not_wait_for_itself(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "lock")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "exit code 1\n"
    assert "below `if __name__ == '__main__':`" in done.stderr
