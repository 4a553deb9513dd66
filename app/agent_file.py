"""The agent's one file as this server offers it: what ``make agent`` has built, its checksum and its signature.

Anybody may fetch it: it holds no secret, and a node that is being installed has no token yet.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from flask import Blueprint, Flask, current_app, jsonify, send_file, url_for
from flask.typing import ResponseReturnValue

from app.config import Settings
from app.errors import NotFoundError

log = logging.getLogger("signalbox.agent_file")

NOT_BUILT = "This server has no agent file to offer; run: make agent"
FILE_TYPE = "application/zip"

blueprint = Blueprint("agent_file", __name__, url_prefix="/agent")


class AgentFile(NamedTuple):
    """What a ``self_update`` action says of the file that is offered now."""

    version: str
    url: str
    """Absolute, from ``SIGNALBOX_PUBLIC_URL`` where that is set, else from the request."""
    checksum: str
    """``sha256:<64 hex>``."""
    signature: str | None
    """Base64 of the Ed25519 signature; ``None`` where it was built without a key."""


@dataclass(frozen=True, slots=True)
class _Built:
    """The pair of files as it lay there at one time."""

    stamp: tuple[tuple[int, int, int], ...]
    description: dict[str, str]


_cache: dict[Path, _Built] = {}


def current() -> AgentFile | None:
    """What this server offers; ``None`` where nothing was built, or half of it. Needs a public URL or a request."""
    built = _built()
    if built is None:
        return None
    settings: Settings = current_app.extensions["settings"]
    if settings.public_url is not None:
        url = settings.public_url + "/agent/signalbox-agent.pyz"
    else:
        url = url_for("agent_file.download", _external=True)
    description = built.description
    return AgentFile(description["version"], url, description["checksum"], description.get("signature"))


@blueprint.get("/signalbox-agent.pyz")
def download() -> ResponseReturnValue:
    """The file."""
    built = _built()
    if built is None:
        raise NotFoundError(NOT_BUILT)
    digest = built.description["checksum"].removeprefix("sha256:")
    return send_file(
        _path(),
        mimetype=FILE_TYPE,
        as_attachment=True,
        download_name="signalbox-agent.pyz",
        etag=digest,
        max_age=60,
    )


@blueprint.get("/signalbox-agent.json")
def describe() -> ResponseReturnValue:
    """``{version, url, checksum, signature}``."""
    offered = current()
    if offered is None:
        raise NotFoundError(NOT_BUILT)
    return jsonify(offered._asdict())


def init_app(app: Flask) -> None:
    """Register the routes."""
    app.register_blueprint(blueprint)


def _path() -> Path:
    settings: Settings = current_app.extensions["settings"]
    return settings.agent_file


def _built() -> _Built | None:
    """The description, if the file is the one that it describes; looked at again whenever either has changed."""
    path = _path()
    beside = path.with_suffix(".json")
    try:
        stamp = tuple((s.st_mtime_ns, s.st_size, s.st_ino) for s in (path.stat(), beside.stat()))
        built = _cache.get(path)
        if built is None or built.stamp != stamp:
            description = json.loads(beside.read_bytes())
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if description["checksum"] != f"sha256:{digest}" or not isinstance(description["version"], str):
                # Both are being replaced, or one was copied without the other.
                log.warning("agent file not offered path=%s: %s describes another file", path, beside.name)
                return None
            built = _cache[path] = _Built(stamp, description)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return built
