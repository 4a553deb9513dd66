"""What can be asked of a node, and whether that makes sense, before anybody is asked."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from agent.protocol import MAX_VERSION_CHARACTERS, ActionType
from app.agent_file import AgentFile
from app.errors import InvalidInputError

MAX_URL_CHARACTERS = 2000
MAX_SIGNATURE_CHARACTERS = 1000

_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for. A restart without a pipeline is one of the whole agent."""

    action: str
    pipeline_id: str | None = None
    target_version: str | None = None
    download_url: str | None = None
    checksum: str | None = None
    signature: str | None = None

    def to_wire(self) -> dict[str, str]:
        """As fields of a ``pendingAction`` or a push, without those that are absent."""
        fields = {
            "pipelineId": self.pipeline_id,
            "targetVersion": self.target_version,
            "downloadUrl": self.download_url,
            "checksum": self.checksum,
            "signature": self.signature,
        }
        return {name: value for name, value in fields.items() if value is not None}


def checked(wish: Wish, served: AgentFile | None = None) -> Wish:
    """The wish, filled in from *served* where it leaves out which agent an update is to.

    :raises InvalidInputError: an unknown action, or a field that is missing, malformed or of the other action.
    """
    update = (wish.target_version, wish.download_url, wish.checksum, wish.signature)
    if wish.action == ActionType.RESTART:
        for field, value in zip(
            ("targetVersion", "downloadUrl", "checksum", "signature"), update, strict=True
        ):
            require(value is None, field, "it belongs to self_update")
        return wish
    require(wish.action == ActionType.SELF_UPDATE, "action", f"it is one of {', '.join(ActionType)}")
    require(wish.pipeline_id is None, "pipelineId", "it belongs to restart")
    if update == (None, None, None, None) and served is not None:
        return replace(
            wish,
            target_version=served.version,
            download_url=served.url,
            checksum=served.checksum,
            signature=served.signature,
        )
    version = wish.target_version
    require(
        bool(
            version and len(version) <= MAX_VERSION_CHARACTERS and version.isprintable() and version.strip()
        ),
        "targetVersion",
        f"an update needs a version of at most {MAX_VERSION_CHARACTERS} characters",
    )
    require(
        _is_download(wish.download_url), "downloadUrl", "an update needs an absolute http or https address"
    )
    is_checksum = wish.checksum is not None and _CHECKSUM.fullmatch(wish.checksum) is not None
    require(is_checksum, "checksum", "an update needs sha256: and 64 lower-case hexadecimal digits")
    is_signature = wish.signature is None or 0 < len(wish.signature) <= MAX_SIGNATURE_CHARACTERS
    require(is_signature, "signature", f"it has 1 to {MAX_SIGNATURE_CHARACTERS} characters")
    return wish


def _is_download(url: str | None) -> bool:
    if not url or len(url) > MAX_URL_CHARACTERS or not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def require(holds: bool, field: str, message: str) -> None:
    """Refuse a field of which *message* says what it should be.

    :raises InvalidInputError: it does not hold.
    """
    if not holds:
        raise InvalidInputError(
            f'The field "{field}" is not valid: {message}.', [{"field": field, "message": message}]
        )
