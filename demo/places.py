"""Where the demo keeps what."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INSTANCE = ROOT / "instance"
FOLDER = INSTANCE / "demo"
RECORD = INSTANCE / "demo.json"
ACCESS_LOG = FOLDER / "access.log"
STAND_IN = ROOT / "demo" / "vector"


def data_folder(node: str) -> Path:
    """The data folder of the agent of the node of this name."""
    return FOLDER / node


def made(folder: Path) -> Path:
    """The folder, which is there now; its owner's only."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
