"""Patch folders: the several ways their tables were written, and every cube that cannot be used named at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from lungdet.errors import MissingFileError, TableError
from lungdet.io.patch_folder import read_patch_folder

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write(pos="...", bg="...", cubes={name: array})` makes a folder; text lines become index files."""

    def make(
        pos: str | None = "path\na.npy\nb.npy",
        bg: str | None = "path\nc.npy",
        cubes: dict[str, npt.NDArray[np.generic]] | None = None,
    ) -> Path:
        for name in ("a", "b", "c"):
            np.save(tmp_path / f"{name}.npy", np.zeros((4, 5, 6), np.int16))
        for name, cube in (cubes or {}).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            np.save(tmp_path / name, cube)
        for name, text in (("patch_index.csv", pos), ("bg_index.csv", bg)):
            if text is not None:
                (tmp_path / name).write_text(text + "\n")
        return tmp_path

    return make


def test_the_plainest_folder(write: Write) -> None:
    folder = read_patch_folder(write())
    assert folder.patches["name"].tolist() == ["a.npy", "b.npy", "c.npy"]
    assert folder.patches["is_nodule"].tolist() == [True, True, False]
    assert folder.patches["group"].tolist() == ["", "", ""]
    assert folder.patches[["center_x_mm", "center_y_mm", "center_z_mm"]].isna().all(axis=None)
    assert folder.shape_zyx == (4, 5, 6)
    assert folder.dtype == np.int16


@pytest.mark.parametrize("column", ["path", "patch_path", "file_path", "file", "filename", "npy", " Path "])
@pytest.mark.parametrize("group", ["patient_id", "group", "seriesuid", "series_uid", "SeriesUID"])
def test_names_of_columns(write: Write, column: str, group: str) -> None:
    folder = read_patch_folder(
        write(
            f",{column},{group},coordX,coordY,coordZ\n0,a.npy,p1,1,2,-3.5\n1,b.npy,p2,,,", f"{group};{column}\np1;c.npy"
        )
    )
    assert folder.patches["group"].tolist() == ["p1", "p2", "p1"]
    assert folder.patches["center_z_mm"].tolist()[0] == -3.5
    assert folder.patches["center_z_mm"].isna().tolist() == [False, True, True]


def test_patients_are_preferred_to_series(write: Write) -> None:
    folder = read_patch_folder(
        write("path,seriesuid,patient_id\na.npy,s1,p1\nb.npy,s2,p1", "path,seriesuid,patient_id\nc.npy,s3,p2")
    )
    assert folder.patches["group"].tolist() == ["p1", "p1", "p2"]


def test_tables_that_group_differently_would_leak(write: Write) -> None:
    root = write("path,patient_id\na.npy,p1\nb.npy,p2", "path,seriesuid\nc.npy,s1")
    with pytest.raises(TableError, match=r"patch_index\.csv: patient_id; bg_index\.csv: seriesuid"):
        read_patch_folder(root)
    (root / "bg_index.csv").write_text("path,seriesuid,patient_id\nc.npy,s1,p1\n")
    assert read_patch_folder(root).patches["group"].tolist() == ["p1", "p2", "p1"]
    (root / "bg_index.csv").write_text("path\nc.npy\n")
    with pytest.raises(TableError, match=r"bg_index\.csv: none"):
        read_patch_folder(root)


def test_labels_in_one_table(write: Write) -> None:
    folder = read_patch_folder(write("file,label\na.npy,1\nb.npy,0\nc.npy,1.0", None))
    assert folder.patches["is_nodule"].tolist() == [True, False, True]
    folder = read_patch_folder(write("file,is_nodule\na.npy,True\nb.npy,False\nc.npy,true", None))
    assert folder.patches["is_nodule"].tolist() == [True, False, True]


def test_paths_of_another_machine(write: Write, tmp_path: Path) -> None:
    """The deeper of two files of one name is the one whose path ends alike over more parts."""
    cube = np.zeros((4, 5, 6), np.int16)
    root = write(
        "path\n/kaggle/working/patches/pos/a.npy\nC:\\data\\b.npy",
        f"path\n{tmp_path / 'c.npy'}",
        {"pos/a.npy": cube},
    )
    assert read_patch_folder(root).patches["name"].tolist() == ["pos/a.npy", "b.npy", "c.npy"]


def test_channel_axis_and_dtype(write: Write) -> None:
    cubes = {f"{n}.npy": np.zeros((1, 4, 5, 6), ">f4") for n in "abc"}
    folder = read_patch_folder(write(cubes=cubes))
    assert folder.shape_zyx == (4, 5, 6)
    assert folder.dtype == np.float32


def test_all_unusable_cubes_are_counted_and_named(write: Write) -> None:
    names = [f"x{n}" for n in range(6)]
    root = write(
        "path\na.npy\nb.npy\n" + "\n".join(f"{n}.npy" for n in names),
        "path\nc.npy\nmissing.npy",
        {
            "x0.npy": np.zeros((4, 5, 7), np.int16),
            "x1.npy": np.zeros((4, 5, 6), np.uint8),
            "x2.npy": np.zeros((4, 5), np.int16),
            "x4.npy": np.zeros((4, 5, 6), np.float32),
        },
    )
    whole = (root / "a.npy").read_bytes()
    (root / "x3.npy").write_bytes(whole[:-10])
    (root / "x5.npy").write_bytes(b"")
    with pytest.raises(TableError) as caught:
        read_patch_folder(root)
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("7 of 10 cubes cannot be used:")
    assert "missing.npy: no such file" in lines[1]
    assert "x1.npy: dtype uint8, allowed are int16, int32, float16, float32, float64" in lines[2]
    assert "x2.npy: shape (4, 5), allowed is [D, H, W]" in lines[3]
    assert "x3.npy: not a readable .npy file" in lines[4]
    assert lines[6] == "  and 2 more"
    for name in ("missing", "x1", "x2", "x3", "x5"):
        for table in ("patch_index.csv", "bg_index.csv"):
            text = (root / table).read_text().replace(f"{name}.npy\n", "")
            (root / table).write_text(text)
    with pytest.raises(TableError, match=r"2 of 5 cubes") as caught:
        read_patch_folder(root)
    assert "x0.npy: 4 x 5 x 7 int16, most are 4 x 5 x 6 int16" in str(caught.value)
    assert "x4.npy: 4 x 5 x 6 float32, most are 4 x 5 x 6 int16" in str(caught.value)


def test_a_pickle_is_not_opened(write: Write) -> None:
    root = write()
    np.save(root / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(TableError, match=r"a\.npy: not a readable \.npy file"):
        read_patch_folder(root)


@pytest.mark.parametrize(
    ("pos", "bg", "message"),
    [
        (None, "path\nc.npy", r"no patch_index\.csv there"),
        ("path\na.npy", None, r"all 1 cubes are of one class; bg_index\.csv lists the negatives"),
        (
            "where\na.npy",
            "path\nc.npy",
            r"patch_index\.csv: no column of file paths; it has where\. Expected one of path",
        ),
        ("path", "path\nc.npy", r"patch_index\.csv: the table has no rows"),
        ("path,label\na.npy,2", "path\nc.npy", r"data row 1: '2' for label: allowed are 0 and 1"),
        (
            "path\na.npy",
            "path,label\nb.npy,0\nc.npy,1",
            r"bg_index\.csv: data row 2: '1' for label: this table is of neg",
        ),
        ("path\na.npy", "path\na.npy", r"a\.npy: listed 2 times"),
        ("path,coordX,coordY,coordZ\na.npy,1,2,x", "path\nc.npy", r"data row 1: 'x' for centre z"),
        ('path\n"a.npy', "path\nc.npy", r"patch_index\.csv: not a readable table"),
    ],
)
def test_wrong_tables(write: Write, pos: str | None, bg: str | None, message: str) -> None:
    with pytest.raises((TableError, MissingFileError), match=message):
        read_patch_folder(write(pos, bg))
