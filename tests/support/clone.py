"""What a clone of the present state would hold."""

import shutil
import subprocess
from pathlib import Path

from tests.support import PROJECT


def files_of_a_clone() -> list[str]:
    """The paths that git knows or would add, relative to the project; nothing that was built or run here."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        check=True,
        capture_output=True,
        text=True,
    )
    # What is deleted and not committed is listed too.
    return [name for name in listed.stdout.split("\0") if name and (PROJECT / name).is_file()]


def copy_files(names: list[str], target: Path) -> Path:
    """Copy these files of the project to the same places below `target`; that."""
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, target / name)
    return target
