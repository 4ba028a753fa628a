from pathlib import Path

import pytest

from jaxssd.data.photographs import find_photographs


@pytest.fixture
def folder(tmp_path):
    """Pictures, other files, and a folder whose name looks like a pattern."""
    folder = tmp_path / "my [2024] photos"
    for name in ("b.jpg", "a.PNG", "c.webp", "notes.txt", "._a.jpg", "deep/d.jpg", "[x].jpg", "x.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def names(paths, folder):
    return [path.relative_to(folder).as_posix() for path in paths]


def test_a_folder_is_its_pictures(folder):
    assert names(find_photographs([folder]), folder) == ["[x].jpg", "a.PNG", "b.jpg", "c.webp", "x.jpg"]


def test_files_stay_in_their_order_there_or_not(folder):
    files = [folder / "x.jpg", folder / "b.jpg", folder / "missing.jpg", folder / "notes.txt"]
    assert find_photographs(files) == files


def test_what_is_there_is_no_pattern(folder):
    assert find_photographs([folder / "[x].jpg"]) == [folder / "[x].jpg"]


def test_patterns_are_expanded(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert find_photographs([Path("?.jpg")]) == [Path("b.jpg"), Path("x.jpg")]
    assert find_photographs([Path("**/*.jpg")]) == [Path(n) for n in ("[x].jpg", "b.jpg", "deep/d.jpg", "x.jpg")]


def test_a_folder_without_pictures_is_named(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty has no picture in it"):
        find_photographs([folder, tmp_path / "empty"])
