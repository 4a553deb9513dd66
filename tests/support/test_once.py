"""What is dear to make is made once, whoever asks, also at the same time."""

import threading
from pathlib import Path

import pytest

from tests.support.once import made_once


def test_of_many_one_makes_it_and_all_get_it(tmp_path: Path) -> None:
    """The others wait until it is whole."""
    made: list[str] = []
    seen: list[str] = []

    def make(folder: Path) -> None:
        made.append(folder.name)
        (folder / "file").write_text("whole")

    threads = [
        threading.Thread(target=lambda: seen.append((made_once(tmp_path / "it", make) / "file").read_text()))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert seen == ["whole"] * 8
    assert len(made) == 1


def test_what_failed_half_way_is_tried_again(tmp_path: Path) -> None:
    """The next one finds nothing of it."""

    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        made_once(tmp_path / "it", fail)
    assert list(made_once(tmp_path / "it", lambda folder: (folder / "file").touch()).iterdir()) == [
        tmp_path / "it" / "file"
    ]
