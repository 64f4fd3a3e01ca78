from __future__ import annotations

from pathlib import Path

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytest
from PIL import Image

from lungdet.errors import MissingFileError, ScanError, TableError
from lungdet.io.unlabelled_images import find_images


def picture(path: Path, grey: int = 7) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 5), grey, np.uint8)).save(path)
    return path


def test_a_folder_is_searched_with_its_folders(tmp_path: Path) -> None:
    for name in ("b/two.PNG", "a/one.jpeg", "three.tif", ".hidden.png", "notes.txt"):
        target = tmp_path / name
        picture(tmp_path / "x.png")
        target.parent.mkdir(exist_ok=True)
        (tmp_path / "x.png").rename(target)
    found = find_images(tmp_path)
    assert found.image_ids == ("one", "two", "three")
    assert [path.name for path, row in found.places if row == -1] == ["one.jpeg", "two.PNG", "three.tif"]
    with found.pixels(channels=3) as pixels:
        assert pixels.read("two").tolist() == np.full((4, 5, 3), 7).tolist()


def test_names_that_occur_twice_get_their_folder(tmp_path: Path) -> None:
    for name in ("NORMAL/1.png", "PNEUMONIA/1.png", "PNEUMONIA/2.png"):
        picture(tmp_path / name)
    assert find_images(tmp_path).image_ids == ("NORMAL/1", "PNEUMONIA/1", "PNEUMONIA/2")
    picture(tmp_path / "NORMAL/1.bmp")
    with pytest.raises(TableError, match=r"two files are called NORMAL/1, and differ in the suffix alone"):
        find_images(tmp_path)


def test_a_list(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    table = tmp_path / "list.csv"
    table.write_text("path\nimages/a.png\nimages/gone.png\n")
    found = find_images(table)
    assert found.image_ids == ("a", "gone")
    with found.pixels(channels=1) as pixels:
        assert pixels.read("a").shape == (4, 5)
        with pytest.raises(MissingFileError, match=r"gone.png: no such image file"):
            pixels.read("gone")
    table.write_text("id;Path\n7;images\\a.png\n")
    assert find_images(table).image_ids == ("7",)
    assert find_images(table).places == ((tmp_path / "images/a.png", -1),)
    table.write_text("id,path\n7,a.png\n7,b.png\n")
    with pytest.raises(TableError, match="line 3: '7' for id: listed twice"):
        find_images(table)
    table.write_text("id\n7\n")
    with pytest.raises(TableError, match="no column path or file"):
        find_images(table)


def test_one_file_and_hdf5(tmp_path: Path) -> None:
    assert find_images(picture(tmp_path / "a.png")).image_ids == ("a",)
    images = np.arange(3 * 4 * 4 * 3, dtype=np.uint8).reshape(3, 4, 4, 3)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = images
    found = find_images(tmp_path / "x.h5")
    assert found.image_ids == ("0", "1", "2")
    with found.pixels(channels=3) as pixels:
        assert (pixels.read("2") == images[2]).all()
    (tmp_path / "y.h5").write_bytes(b"no")
    with pytest.raises(ScanError, match="not a readable HDF5 file"):
        find_images(tmp_path / "y.h5")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no image files in it; looked for"):
        find_images(tmp_path)
    with pytest.raises(MissingFileError, match=r"no such folder or file; give a folder of images, or a \.csv"):
        find_images(tmp_path / "gone")
