"""``instance/demo.json``: what a second start needs to go on where the first left off. Readable by its owner only."""

import base64
import json
import os
import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path

EMAIL = "operator@signalbox.example"


class RecordError(Exception):
    """The record cannot be read."""


@dataclass
class Record:
    """All that is remembered of a demo; every value is a secret or an address."""

    folder: str
    """Where the demo keeps everything else; absolute, since the deployed pipeline names a file in it."""
    email: str
    password: str
    secretKey: str
    encryptionKey: str
    port: int = 0
    """Of the server, on the loopback interface; 0 before the first start."""
    url: str = ""
    apiToken: str = ""
    environmentId: str = ""
    enrollmentToken: str = ""
    pipelineId: str = ""
    isSetUp: bool = False
    """The pipeline was deployed once: from here on what is in the database is the operator's own."""

    @classmethod
    def new(cls, folder: Path) -> "Record":
        """With fresh secrets and a password that can be typed."""
        return cls(
            folder=str(folder),
            email=EMAIL,
            password=secrets.token_urlsafe(12),
            secretKey=secrets.token_hex(32),
            encryptionKey=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        )

    @classmethod
    def load(cls, file: Path) -> "Record | None":
        """The record in `file`; None where there is none. Raises RecordError for one that is no record."""
        try:
            content = json.loads(file.read_text())
            known = {field.name for field in fields(cls)}
            return cls(**{name: value for name, value in content.items() if name in known})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise RecordError(f"cannot read {file} ({error}); `make demo RESET=1` starts afresh") from error

    def save(self, file: Path) -> None:
        """Replace `file` whole; 0600 from its first moment."""
        new = file.with_suffix(".new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stored:
            json.dump(asdict(self), stored, indent=2)
            stored.write("\n")
        new.replace(file)
