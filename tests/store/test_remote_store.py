"""Stores on a real S3 server: written by preprocessing, read crop by crop, the same voxels as a local store."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
import zarr
from tests.object_server import Failing
from torch.utils.data import DataLoader, Dataset

from lungdet.bench.s3_server import S3Server
from lungdet.errors import StoreError
from lungdet.store.chunk_cache import ChunkCache
from lungdet.store.location import ObjectFolder
from lungdet.store.object_client import ObjectClient
from lungdet.store.preprocess import preprocess
from lungdet.store.reader import CtStore
from lungdet.store.remote_shard import RemoteShardReader
from lungdet.store.remote_writer import upload_scan
from lungdet.store.schema import StoreSpec
from lungdet.store.series_list import read_series

UIDS = ("1.2.1", "1.2.2", "1.2.3")
URL = "s3://bucket/stores/ct.zarr"
REMOTE = ObjectFolder("s3://bucket", "stores/ct.zarr")
CROP = (16, 20, 24)

Points = tuple[list[str], npt.NDArray[np.float64]]


def upload(store: Path, to: ObjectFolder = REMOTE) -> None:
    """As `aws s3 sync` would."""
    for path in store.rglob("*"):
        if path.is_file():
            (to / path.relative_to(store).as_posix()).write(path)


@pytest.fixture
def remote(s3: S3Server, make_store: Callable[..., Path]) -> S3Server:
    upload(make_store())
    s3.requests.clear()
    return s3


def points(store: CtStore, n: int, seed: int = 0) -> Points:
    """Anywhere in the scans, some over the border."""
    rng = np.random.default_rng(seed)
    uids = [UIDS[k] for k in rng.integers(0, 3, n)]
    centers = [store.geometry(uid).index_to_world(rng.uniform(0, store.geometry(uid).shape_zyx)) for uid in uids]
    return uids, np.asarray(centers)


@pytest.mark.parametrize("codec", ["lz4", "zstd", "none"])
def test_crops_and_volumes_equal_those_of_the_local_store(
    codec: Literal["lz4", "zstd", "none"], s3: S3Server, make_store: Callable[..., Path]
) -> None:
    local = CtStore(make_store(StoreSpec(codec=codec)))
    upload(make_store(StoreSpec(codec=codec)))
    store = CtStore(URL)
    assert store.series_uids == UIDS
    assert store.fingerprint == local.fingerprint
    chosen = points(local, 40)
    assert np.array_equal(store.crops(*chosen, CROP), local.crops(*chosen, CROP))
    for uid, center in zip(*points(local, 10, seed=1), strict=True):
        for mine, theirs in zip(store.crop(uid, center, CROP), local.crop(uid, center, CROP), strict=True):
            assert np.array_equal(mine, theirs)
    for uid in UIDS:
        assert np.array_equal(store.volume(uid), local.volume(uid))
        assert np.array_equal(store.lung_mask(uid), local.lung_mask(uid))
        assert store.geometry(uid) == local.geometry(uid)
        assert store.source_geometry(uid) == local.source_geometry(uid)
    assert store.pixel_hashes(UIDS) == local.pixel_hashes(UIDS)


def test_any_zarr_library_reads_it_where_it_lies(remote: S3Server, make_store: Callable[..., Path]) -> None:
    from obstore.store import S3Store
    from zarr.storage import ObjectStore

    source = ObjectStore(S3Store("bucket", prefix=f"{REMOTE.key}/scans/1.2.1/hu"), read_only=True)
    assert np.array_equal(zarr.open_array(source, mode="r")[...], CtStore(make_store()).volume("1.2.1"))


def test_opening_takes_two_requests_and_a_batch_one_round(remote: S3Server) -> None:
    store = CtStore(URL)
    assert [request.path for request in remote.requests] == [
        f"bucket/{REMOTE.key}/zarr.json",
        f"bucket/{REMOTE.key}/scans/zarr.json",
    ]
    remote.requests.clear()
    center = store.geometry("1.2.1").index_to_world((20, 20, 20))
    assert len(remote.requests) == 3, "the records of all scans are asked for together"
    remote.requests.clear()
    store.crops(["1.2.1"], [center], (8, 8, 8))
    metadata, index, *chunks = remote.requests
    assert metadata.path.endswith("hu/zarr.json")
    assert index.range.startswith("bytes=-")
    assert chunks
    assert all(request.range and "hu/c/0/0/0" in request.path for request in chunks)


def test_only_the_chunks_of_a_crop_are_fetched_and_only_once(remote: S3Server, make_store: Callable[..., Path]) -> None:
    store = CtStore(URL)
    shape = store.geometry("1.2.1").shape_zyx
    center = store.geometry("1.2.1").index_to_world((16, 16, 16))
    store.crop("1.2.1", center, (8, 8, 8))  # inside the first chunk
    index = zarr_index(make_store() / "scans/1.2.1/hu")
    parts = [request for request in remote.requests if request.range.startswith("bytes=") and request.range[6] != "-"]
    assert [(part.range, part.n_bytes) for part in parts] == [
        (f"bytes={index[0, 0]}-{index[0].sum() - 1}", index[0, 1])
    ]
    remote.requests.clear()
    store.crop("1.2.1", center, (8, 8, 8))
    store.crop("1.2.1", center, (32, 32, 32))
    assert remote.requests == []
    store.volume("1.2.1")
    (rest,) = remote.requests
    assert rest.n_bytes == index[:, 1][index[:, 0] >= 0].sum() - index[0, 1], "all others at once"
    assert np.prod(shape) > 32**3


def zarr_index(array: Path) -> npt.NDArray[np.int64]:
    """Offset and length of every chunk, from the end of the shard."""
    n = zarr.open_array(array, mode="r").nchunks
    return np.frombuffer((array / "c/0/0/0").read_bytes()[-4 - 16 * n : -4], "<i8").reshape(-1, 2)


def test_the_next_process_finds_the_chunks_in_the_cache(remote: S3Server) -> None:
    first = CtStore(URL)
    chosen = points(first, 30)
    expected = first.crops(*chosen, CROP)
    remote.requests.clear()
    again = pickle.loads(pickle.dumps(first))
    assert np.array_equal(again.crops(*chosen, CROP), expected)
    assert len([request for request in remote.requests if request.path.endswith("c/0/0/0")]) == 3, "the indexes alone"


def test_damaged_and_removed_files_of_the_cache_are_fetched_again(remote: S3Server, tmp_path: Path) -> None:
    store = CtStore(URL, cache=ChunkCache(tmp_path, max_gb=1))
    chosen = points(store, 30)
    expected = store.crops(*chosen, CROP)
    for path in (tmp_path / "chunks").iterdir():
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.write(b"\xff" * (size // 2))
    again = CtStore(URL, cache=ChunkCache(tmp_path, max_gb=1))
    assert np.array_equal(again.crops(*chosen, CROP), expected)
    shutil.rmtree(tmp_path / "chunks")
    assert np.array_equal(again.crops(*chosen, CROP), expected), "what is mapped stays"
    other = points(store, 30, seed=5)
    assert np.array_equal(again.crops(*other, CROP), CtStore(URL).crops(*other, CROP))


def test_a_cache_smaller_than_the_store_serves_all_the_same(remote: S3Server, tmp_path: Path) -> None:
    whole = CtStore(URL)
    small = CtStore(URL, cache=ChunkCache(tmp_path, max_gb=2e-4))
    for seed in range(6):
        chosen = points(whole, 20, seed=seed)
        assert np.array_equal(small.crops(*chosen, CROP), whole.crops(*chosen, CROP))


def test_a_rewritten_scan_is_not_served_from_the_cache(s3: S3Server, scans: dict[str, Path]) -> None:
    preprocess({"1": scans["1.2.1"]}, URL, StoreSpec())
    before = CtStore(URL).volume("1")
    report = preprocess({"1": scans["1.2.2"]}, URL, StoreSpec())
    assert report.stored == ["1"], "it is of another file"
    assert not np.array_equal(CtStore(URL).volume("1")[:20, :20, :20], before[:20, :20, :20])


def test_fetching_goes_on_after_failures(remote: S3Server, make_store: Callable[..., Path]) -> None:
    local = CtStore(make_store())
    store = CtStore(URL)
    remote.before = failing = Failing("503 Slow Down", code="SlowDown", times=8)
    chosen = points(local, 20)
    assert np.array_equal(store.crops(*chosen, CROP), local.crops(*chosen, CROP))
    assert failing.left == 0


def test_a_damaged_scan_costs_its_neighbours_nothing(remote: S3Server) -> None:
    (REMOTE / "scans" / "1.2.2" / "zarr.json").write(b"{}")
    store = CtStore(URL)
    assert store.geometry("1.2.1").shape_zyx == store.volume("1.2.1").shape
    with pytest.raises(StoreError, match=r"1\.2\.2: damaged .* delete it and preprocess again"):
        store.geometry("1.2.2")


def test_a_server_that_fails_for_good_ends_the_read(remote: S3Server) -> None:
    store = CtStore(URL)
    chosen = points(store, 20)
    remote.before = Failing("403 Forbidden", code="AccessDenied", part="c/0/0/0")
    with pytest.raises(StoreError, match=rf"{URL}/scans/1.2.\d/hu/c/0/0/0: access denied"):
        store.crops(*chosen, CROP)
    remote.before = None
    assert store.crops(*chosen, CROP).any(), "and can be tried again"


def test_preprocessing_gives_the_bytes_of_a_local_store(
    s3: S3Server, scans: dict[str, Path], make_store: Callable[..., Path]
) -> None:
    seen: list[str] = []
    report = preprocess(scans, URL, StoreSpec(), progress=lambda done, total, uid: seen.append(uid))
    assert report.stored == list(UIDS) == seen
    local = make_store()
    names = {path.relative_to(local).as_posix() for path in local.rglob("*") if path.is_file()} - {".writing.lock"}
    assert set(REMOTE.names_below()) == names
    for name in names:
        assert (REMOTE / name).read_bytes() == (local / name).read_bytes(), name
    assert read_series(REMOTE) == list(UIDS)
    s3.requests.clear()
    assert preprocess(scans, URL, StoreSpec()).skipped == list(UIDS)
    assert {request.method for request in s3.requests} == {"GET"}, "what is there is not written again"


@pytest.mark.slow
def test_two_processes_upload_the_same_bytes(
    s3: S3Server, scans: dict[str, Path], make_store: Callable[..., Path]
) -> None:
    assert sorted(preprocess(scans, URL, StoreSpec(), workers=2).stored) == list(UIDS)
    for uid in UIDS:
        assert np.array_equal(CtStore(URL).volume(uid), CtStore(make_store()).volume(uid))


def test_a_scan_is_not_there_before_it_is_whole(s3: S3Server, scans: dict[str, Path]) -> None:
    preprocess({"1.2.1": scans["1.2.1"]}, URL, StoreSpec())
    s3.before = Failing("403 Forbidden", code="AccessDenied", part="1.2.2/lung_mask/c", method="PUT")
    report = preprocess(scans, URL, StoreSpec())
    assert list(report.failed) == ["1.2.2"]
    assert "access denied" in report.failed["1.2.2"]
    assert (REMOTE / "scans/1.2.2").exists(), "a part of it was uploaded"
    assert CtStore(URL).series_uids == ("1.2.1", "1.2.3")
    s3.before = None
    again = preprocess(scans, URL, StoreSpec())
    assert (again.skipped, again.stored) == (["1.2.1", "1.2.3"], ["1.2.2"])
    assert CtStore(URL).series_uids == UIDS


def test_an_interrupted_run_leaves_no_list_and_the_scans_are_found_without(
    s3: S3Server, scans: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    preprocess({"1.2.1": scans["1.2.1"]}, URL, StoreSpec())

    def interrupt(done: int, total: int, uid: str) -> None:
        if uid == "1.2.2":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        preprocess(scans, URL, StoreSpec(), progress=interrupt)
    assert read_series(REMOTE) is None
    assert CtStore(URL).series_uids == ("1.2.1", "1.2.2")
    preprocess(scans, URL, StoreSpec())
    assert read_series(REMOTE) == list(UIDS)


def test_a_replaced_scan_loses_what_the_new_one_does_not_have(
    s3: S3Server, tmp_path: Path, make_store: Callable[..., Path]
) -> None:
    scan = shutil.copytree(make_store() / "scans" / "1.2.1", tmp_path / "scan")
    upload_scan(scan, REMOTE / "scans" / "x")
    (scan / "lung_mask/c/0/0/0").unlink()
    s3.requests.clear()
    upload_scan(scan, REMOTE / "scans" / "x")
    assert sorted((REMOTE / "scans" / "x").names_below()) == [
        "hu/c/0/0/0",
        "hu/zarr.json",
        "lung_mask/zarr.json",
        "zarr.json",
    ]
    written = [request.path for request in s3.requests if request.method == "PUT"]
    assert written[-1].endswith("x/zarr.json"), "what makes it a scan comes last"


def test_other_settings_are_refused_unless_overwritten(s3: S3Server, scans: dict[str, Path]) -> None:
    preprocess(scans, URL, StoreSpec())
    with pytest.raises(StoreError, match=rf"{URL} was made with other settings \(spacing_mm.*Rebuild it: type this"):
        preprocess(scans, URL, StoreSpec(spacing_mm=(2, 2, 2)), command="type this")
    with pytest.raises(StoreError, match="spacing_mm"):
        CtStore(URL, expect=StoreSpec(spacing_mm=(2, 2, 2)))
    one = {"1.2.3": scans["1.2.3"]}
    preprocess(one, URL, StoreSpec(spacing_mm=(2, 2, 2)), overwrite=True)
    store = CtStore(URL, expect=StoreSpec(spacing_mm=(2, 2, 2)))
    assert store.series_uids == ("1.2.3",)
    assert store.geometry("1.2.3").spacing_zyx_mm == (2.0, 2.0, 2.0)


def test_what_is_no_store_is_neither_read_nor_deleted(s3: S3Server, scans: dict[str, Path]) -> None:
    with pytest.raises(StoreError, match=rf"no store at {URL}; make it: lungdet preprocess"):
        CtStore(URL)
    (REMOTE / "thesis.txt").write(b"precious")
    with pytest.raises(StoreError, match="is not a lungdet store"):
        CtStore(URL)
    with pytest.raises(StoreError, match="is not a lungdet store"):
        preprocess(scans, URL, StoreSpec(), overwrite=True)
    assert (REMOTE / "thesis.txt").read_bytes() == b"precious"


def test_over_http_a_store_is_read_and_not_written(
    remote: S3Server, scans: dict[str, Path], make_store: Callable[..., Path]
) -> None:
    url = f"{remote.url}/bucket/{REMOTE.key}"
    local, store = CtStore(make_store()), CtStore(url)
    assert store.series_uids == UIDS, "from the list that preprocessing left"
    chosen = points(local, 20)
    assert np.array_equal(store.crops(*chosen, CROP), local.crops(*chosen, CROP))
    assert preprocess(scans, url, StoreSpec()).skipped == list(UIDS), "nothing to do is no reason to refuse"
    for options in ({"overwrite": True}, {}):
        with pytest.raises(StoreError, match=r"http:// addresses are read only; preprocess into a folder, s3://"):
            preprocess({**scans, "new": scans["1.2.1"]}, url, StoreSpec(), **options)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="addresses are read only"):
        preprocess(scans, f"{url}_other", StoreSpec())
    with pytest.raises(StoreError, match="no store at http"):
        CtStore(f"{url}_other")
    (REMOTE / "scans/zarr.json").write(b'{"attributes": {}}')
    with pytest.raises(StoreError, match=r"has no list of its scans .* http cannot list them"):
        CtStore(url)
    assert CtStore(URL).series_uids == UIDS


def test_a_volume_of_nothing_but_air_is_an_empty_shard(s3: S3Server, tmp_path: Path) -> None:
    from lungdet.store.remote_shard import Fetches
    from lungdet.store.shard_writer import write_array

    zarr.open_group(tmp_path / "g", mode="w", zarr_format=3)
    write_array(tmp_path / "g", "hu", np.full((40, 40, 40), -1024, np.int16), fill=-1024, codec="lz4")
    upload(tmp_path / "g")
    reader = RemoteShardReader(REMOTE / "hu", cache=ChunkCache(tmp_path, max_gb=1), fetches=Fetches())
    out = np.zeros((3, 3, 3), np.int16)
    reader.read((30, 30, 30), out)
    assert (out == -1024).all()


def test_a_shard_that_is_missing_is_not_taken_for_air(remote: S3Server) -> None:
    (REMOTE / "scans/1.2.2/hu/c").delete_below()
    with pytest.raises(StoreError, match=r"1\.2\.2/hu/c/0/0/0: is missing; preprocess this scan again"):
        CtStore(URL).volume("1.2.2")


@pytest.mark.parametrize("n_deleted", [1, 2, 5, 12])
def test_a_deletion_that_was_interrupted_leaves_no_scan_that_looks_whole(
    n_deleted: int, remote: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete, left = ObjectClient.delete, n_deleted

    def some(client: ObjectClient, keys: Sequence[str]) -> None:
        nonlocal left
        for key in keys:
            if not left:
                raise KeyboardInterrupt
            left -= 1
            delete(client, [key])

    monkeypatch.setattr(ObjectClient, "delete", some)
    names = set(REMOTE.names_below())
    with pytest.raises(KeyboardInterrupt):
        (REMOTE / "scans").delete_below()
    remaining = set(REMOTE.names_below())
    assert len(remaining) == len(names) - n_deleted
    for uid in UIDS:
        if f"scans/{uid}/zarr.json" in remaining:
            assert {name for name in names - remaining if uid in name} == set()


class Crops(Dataset[torch.Tensor]):
    def __init__(self, store: CtStore) -> None:
        self.store = store

    def __len__(self) -> int:
        return 24

    def __getitem__(self, n: int) -> torch.Tensor:
        geometry = self.store.geometry(UIDS[n % 3])
        return torch.from_numpy(self.store.crop(UIDS[n % 3], geometry.index_to_world((n, n, n)), CROP)[0])


@pytest.mark.slow
def test_workers_read_the_same_bytes(remote: S3Server) -> None:
    store = CtStore(URL)
    expected = torch.stack([Crops(store)[n] for n in range(24)])
    loader = DataLoader(Crops(store), batch_size=4, num_workers=2, multiprocessing_context="forkserver")
    assert torch.equal(torch.cat(list(loader)), expected)
