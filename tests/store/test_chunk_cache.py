"""Chunks on the local disk: found again, checked, thrown away when there are too many; by any number of processes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lungdet.errors import ConfigError, StoreError
from lungdet.store.chunk_cache import CachedShard, ChunkCache, cache_folder, neighbour, shared_cache
from lungdet.store.location import ObjectFolder

SIZE = 100_000


def opened(cache: ChunkCache, name: str = "s3://bucket/shard", version: str = "1") -> CachedShard:
    return cache.open(name, version=version, size=SIZE, n_chunks=8)


def content(seed: int, length: int) -> bytes:
    return bytes((seed + n) % 251 for n in range(length))


def test_what_was_added_is_here_for_everyone(tmp_path: Path) -> None:
    cache = ChunkCache(tmp_path, max_gb=1)
    mine, other = opened(cache), opened(ChunkCache(tmp_path, max_gb=1))
    assert not mine.has(3, 500, 1000)
    assert not mine.add([3, 7], [500, 99_000], [content(1, 1000), content(2, 1000)])
    for shard in (mine, other, opened(cache)):
        assert shard.has(3, 500, 1000)
        assert shard.data[500:1500] == content(1, 1000)
        assert shard.has(7, 99_000, 1000)
        assert not shard.has(4, 1500, 1000)
    assert mine.path.stat().st_blocks * 512 < 40_000, "what was not fetched takes no room"


def test_another_version_of_the_shard_is_another_file(tmp_path: Path) -> None:
    cache = ChunkCache(tmp_path, max_gb=1)
    opened(cache).add([0], [0], [b"old"])
    assert not opened(cache, version="2").has(0, 0, 3)
    assert not opened(cache, name="s3://bucket/other").has(0, 0, 3)


@pytest.mark.parametrize("damage", [b"X", b"\0" * 1000], ids=["one byte", "a hole"])
def test_damaged_chunks_are_not_here(tmp_path: Path, damage: bytes) -> None:
    shard = opened(ChunkCache(tmp_path, max_gb=1))
    shard.add([3, 4], [500, 1500], [content(1, 1000), content(2, 1000)])
    with shard.path.open("r+b") as file:
        file.seek(600)
        file.write(damage[:400])
    assert not opened(ChunkCache(tmp_path, max_gb=1)).has(3, 500, 1000)
    assert shard.has(4, 1500, 1000)


def test_a_check_without_its_bytes_is_not_believed(tmp_path: Path) -> None:
    """After a crash the table may be on the disk and the chunk not."""
    cache = ChunkCache(tmp_path, max_gb=1)
    shard = opened(cache)
    shard.add([3], [500], [content(1, 1000)])
    table = shard.path.read_bytes()[-64:]
    shard.path.unlink()
    torn = opened(cache)
    with torn.path.open("r+b") as file:
        file.seek(-64, os.SEEK_END)
        file.write(table)
    assert not torn.has(3, 500, 1000)


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    shards = [opened(ChunkCache(tmp_path, max_gb=1), name=f"s3://bucket/{n}") for n in range(10)]
    for n, shard in enumerate(shards):
        shard.add([0], [0], [content(n, SIZE)])
        os.utime(shard.path, (n, n))
    os.utime(shards[2].path)  # used again
    ChunkCache(tmp_path, max_gb=0.5e-3).shrink()
    left = {n for n, shard in enumerate(shards) if shard.path.exists()}
    used = sum(path.stat().st_blocks * 512 for path in (tmp_path / "chunks").iterdir())
    assert used <= 0.5e6
    assert 2 in left
    assert left - {2} == set(range(10 - len(left) + 1, 10)), "the newest stay"


def test_it_stays_within_its_size_while_it_is_filled(tmp_path: Path) -> None:
    cache = ChunkCache(tmp_path, max_gb=1e-3)
    for n in range(40):
        opened(cache, name=f"s3://bucket/{n}").add([0], [0], [content(n, SIZE)])
    used = sum(path.stat().st_blocks * 512 for path in (tmp_path / "chunks").iterdir())
    assert 0.5e6 < used < 1.2e6


def test_a_file_that_was_removed_in_use_is_begun_again(tmp_path: Path) -> None:
    cache = ChunkCache(tmp_path, max_gb=1)
    shard = opened(cache)
    shard.add([0], [0], [content(0, 1000)])
    shard.path.unlink()
    assert shard.has(0, 0, 1000), "what is mapped stays readable"
    assert shard.add([1], [1000], [content(1, 1000)]), "a new file"
    assert not shard.has(0, 0, 1000)
    assert shard.has(1, 1000, 1000)
    assert opened(cache).has(1, 1000, 1000)


def test_two_shrinking_at_once_do_not_wait_for_each_other(tmp_path: Path) -> None:
    import fcntl

    cache = ChunkCache(tmp_path, max_gb=1e-6)
    shard = opened(cache)
    with (tmp_path / "shrinking.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shard.add([0], [0], [content(0, SIZE)])
        assert shard.path.exists()
    cache.shrink()
    assert not shard.path.exists()


def test_the_environment_says_where_and_how_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LUNGDET_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_folder() == Path("/home/me/.cache/lungdet")
    monkeypatch.setenv("XDG_CACHE_HOME", "/scratch")
    assert cache_folder() == Path("/scratch/lungdet")
    monkeypatch.setenv("LUNGDET_CACHE", str(tmp_path))
    monkeypatch.setenv("LUNGDET_CACHE_GB", "1.5")
    shared_cache.cache_clear()
    assert shared_cache().folder == tmp_path
    assert shared_cache().max_bytes == 1_500_000_000
    shared_cache.cache_clear()


@pytest.mark.parametrize("given", ["0", "-1", "much", "nan", "inf"])
def test_a_size_that_is_none_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNGDET_CACHE_GB", given)
    with pytest.raises(ConfigError, match=f"LUNGDET_CACHE_GB={given} must be a size in GB above 0"):
        ChunkCache("x")


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file cannot be written to \(Not a directory\); set LUNGDET_CACHE to"):
        opened(ChunkCache(tmp_path / "file", max_gb=1))


def test_what_is_made_from_a_remote_store_lies_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNGDET_CACHE", str(tmp_path))
    assert neighbour(Path("stores/a.zarr"), "b.zarr") == Path("stores/b.zarr")
    first, second = (neighbour(ObjectFolder("s3://bucket", key), "b.zarr") for key in ("x/a.zarr", "y/a.zarr"))
    assert first != second
    assert first.name == "b.zarr"
    assert first.is_relative_to(tmp_path)


FILLS = """
import sys
from lungdet.store.chunk_cache import ChunkCache
shard = ChunkCache(sys.argv[1], max_gb=1).open("s3://bucket/shard", version="1", size=100_000, n_chunks=100)
for n in range(100):
    if not shard.has(n, 1000 * n, 1000):
        shard.add([n], [1000 * n], [bytes((n + k) % 251 for k in range(1000))])
assert all(shard.has(n, 1000 * n, 1000) for n in range(100))
"""


@pytest.mark.slow
def test_four_processes_fill_one_file(tmp_path: Path) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", FILLS, str(tmp_path)]) for _ in range(4)]
    assert [process.wait(timeout=60) for process in processes] == [0] * 4
    shard = ChunkCache(tmp_path, max_gb=1).open("s3://bucket/shard", version="1", size=SIZE, n_chunks=100)
    assert all(shard.data[1000 * n : 1000 * n + 1000] == content(n, 1000) for n in range(100))
    assert len(list((tmp_path / "chunks").iterdir())) == 1


def test_a_file_system_without_locks_still_stays_within_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refused)
    cache = ChunkCache(tmp_path, max_gb=1e-3)
    for n in range(20):
        opened(cache, name=f"s3://bucket/{n}").add([0], [0], [content(n, SIZE)])
    assert sum(path.stat().st_blocks * 512 for path in (tmp_path / "chunks").iterdir()) < 1.2e6


def test_old_chunks_that_cannot_be_removed_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = ChunkCache(tmp_path, max_gb=1e-6)
    shard = opened(cache)
    (tmp_path / "shrinking.lock").mkdir()
    shard.add([0], [0], [content(0, SIZE)])
    assert shard.has(0, 0, SIZE)
    assert "old chunks cannot be removed" in caplog.text
