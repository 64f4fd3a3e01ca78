"""What names a store: folders, addresses, and addresses that must not be written down."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from lungdet.bench.s3_server import S3Server
from lungdet.errors import MissingFileError, StoreError
from lungdet.store.location import ObjectFolder, as_location, local_folder, refuse_credentials


def test_paths_stay_paths(tmp_path: Path) -> None:
    assert as_location(tmp_path) == tmp_path
    assert as_location("stores/luna16.zarr") == Path("stores/luna16.zarr")
    assert local_folder("stores/chests.zarr") == Path("stores/chests.zarr")


def test_an_address_is_taken_apart_and_put_together() -> None:
    store = as_location("s3://bucket/of/luna16.zarr/")
    assert store == ObjectFolder("s3://bucket", "of/luna16.zarr")
    assert isinstance(store, ObjectFolder)
    scan = store / "scans" / "1.2.3"
    assert str(scan) == "s3://bucket/of/luna16.zarr/scans/1.2.3"
    assert (scan.name, str(scan.parent.parent)) == ("1.2.3", str(store))
    assert str(as_location("gs://bucket")) == "gs://bucket"
    assert str(ObjectFolder("gs://bucket", "") / "scans") == "gs://bucket/scans"
    assert pickle.loads(pickle.dumps(scan)) == scan
    assert as_location(scan) is scan


@pytest.mark.parametrize(
    ("address", "read_only"),
    [("az://container/x", False), ("https://host:8443/x", True), ("http://10.0.0.1:80/x", True)],
)
def test_protocols(address: str, read_only: bool) -> None:
    location = as_location(address)
    assert isinstance(location, ObjectFolder)
    assert location.is_read_only is read_only
    assert str(location) == address


@pytest.mark.parametrize("address", ["ftp://host/x", "s3://", "s3:///x", "file:///x", "abfss://container/x"])
def test_other_addresses_are_refused_with_those_allowed(address: str) -> None:
    with pytest.raises(StoreError, match=r"allowed: a folder, s3://bucket/path, gs://.*az://.*https://host/path"):
        as_location(address)


@pytest.mark.parametrize(
    "address",
    [
        "s3://AKIAKEY:hunter2@bucket/x",
        "s3://AKIAKEY:SE/CRET@bucket/x",
        "https://user:hunter2@host/x",
        "https://hunter2@host/x",
        "https://host/x?sig=hunter2",
        "az://container/x?sv=1&sig=hunter2",
        "https://host:hunter2/x",
        "s3://bucket/x#hunter2",
        "ftp://user:hunter2@host/x",
    ],
)
def test_credentials_are_refused_and_not_repeated(address: str) -> None:
    for refuse in (as_location, refuse_credentials):
        with pytest.raises(StoreError, match="is refused: it would stand in configurations and logs") as refused:
            refuse(address)
        assert "hunter2" not in str(refused.value)
        assert "AKIAKEY" not in str(refused.value)


def test_an_at_sign_in_a_name_is_none_of_them() -> None:
    assert str(as_location("s3://bucket/me@home/x")) == "s3://bucket/me@home/x"


def test_a_path_object_cannot_hold_an_address() -> None:
    with pytest.raises(StoreError, match=r"s3:// is no folder: give the URL as text"):
        as_location(Path("s3://bucket/x"))


def test_stores_of_images_are_local() -> None:
    with pytest.raises(StoreError, match=r"data.store_path=s3://bucket/x: stores of images lie in a local folder"):
        local_folder("s3://bucket/x")


def test_objects_are_put_listed_read_and_deleted(s3: S3Server, tmp_path: Path) -> None:
    folder = ObjectFolder("s3://bucket", "a/b")
    assert not folder.exists()
    (tmp_path / "file").write_bytes(b"from a file")
    (folder / "zarr.json").write(b"{}")
    (folder / "c/0/0/0").write(tmp_path / "file")
    ObjectFolder("s3://bucket", "a/bc/other").write(b"a longer name is no part of the folder")
    assert folder.exists()
    assert sorted(folder.names_below()) == ["c/0/0/0", "zarr.json"]
    assert sorted(ObjectFolder("s3://bucket", "").names_below()) == ["a/b/c/0/0/0", "a/b/zarr.json", "a/bc/other"]
    assert (folder / "c/0/0/0").read_text() == "from a file"
    s3.requests.clear()
    folder.delete_below()
    assert not folder.exists()
    assert ObjectFolder("s3://bucket", "a/bc/other").exists() is False, "an object is no folder"
    assert ObjectFolder("s3://bucket", "a/bc").exists()
    folder.delete_below()  # nothing there is no error
    with pytest.raises(MissingFileError, match=r"s3://bucket/a/b/zarr.json: no such object"):
        (folder / "zarr.json").read_bytes()


def test_more_objects_than_fit_on_a_page_are_listed(s3: S3Server) -> None:
    from moto.s3.models import s3_backends

    folder = ObjectFolder("s3://bucket", "many")
    (folder / "0000").write(b"")
    (account,) = s3_backends
    for n in range(1, 1005):  # behind the server's back: as many requests take seconds
        s3_backends[account]["aws"].put_object("bucket", f"many/{n:04d}", b"")
    s3.requests.clear()
    assert sorted(folder.names_below()) == [f"{n:04d}" for n in range(1005)]
    assert len(s3.requests) == 2
