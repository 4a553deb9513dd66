"""Where the data folder is. Apart from the other settings, since the starter wants to know no more."""

from __future__ import annotations

from collections.abc import Mapping


def data_dir(environment: Mapping[str, str]) -> str:
    """The data folder that ``environment`` names; a node that changes agents keeps its folder too."""
    is_moved = not environment.get("SIGNALBOX_URL", "").strip()
    default = "/var/lib/vf-agent" if is_moved else "/var/lib/signalbox-agent"
    named = (environment.get(name, "").strip() for name in ("SIGNALBOX_DATA_DIR", "VF_DATA_DIR"))
    return next(filter(None, named), default)
