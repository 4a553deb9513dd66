"""The agent's data folder: what must outlive the process. Every file is replaced whole or not at all.

::

    lock                     held while an agent runs
    node-token               the node's token and nothing else, 0600
    enrollment.json          which enrollment token that came from (a hash), and the install id
    plan.json                what this node last ran, secrets included, 0600
    actions.json             which actions were taken up, and what the server has still to be told about them
    update/                  agent files that were fetched, see agent/installation.py
    cacert.pem               certificate authorities, where the agent is one file
    last-contact             when the server last answered
    certs/<base name>        certificates of pipelines, 0600
    pipelines/<id>/          pipeline.yaml, agent.yaml, and Vector's own data_dir in data/
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from agent.ledger import ActionRecord
from agent.plan import AnswerRefusedError, Declined, Memory, PipelineSpec, parse_spec, spec_to_json


class StoreError(Exception):
    """Something could not be kept or read; the message says what and why."""


class Store:
    """The data folder of one agent."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._lock_descriptor: int | None = None

    def open(self) -> None:
        """Make the folder and lock it; StoreError if another agent has it or it cannot be written."""
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"cannot use the data folder {self.data_dir}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise StoreError(
                f"cannot use the data folder {self.data_dir}: another agent is running on it"
            ) from error
        self._lock_descriptor = descriptor

    def node_token(self) -> str | None:
        """The node's token; ``None`` if there is none. StoreError if it cannot be read."""
        content = self._read("node-token")
        return (content.decode("ascii", "replace").strip() or None) if content is not None else None

    def keep_enrollment(self, node_token: str, enrollment_token: str | None) -> None:
        """Keep a new node token, and of which enrollment token it came."""
        # The token first: without the other file a changed enrollment token merely goes unnoticed.
        self._write("node-token", node_token.encode("ascii") + b"\n")
        self.keep_enrollment_token(enrollment_token)

    def keep_enrollment_token(self, enrollment_token: str | None) -> None:
        """Remember, as a hash, which enrollment token the node token belongs to."""
        record = self._enrollment() | {"enrollmentTokenHash": _digest(enrollment_token)}
        self._write("enrollment.json", json.dumps(record).encode())

    def is_enrolled_with(self, enrollment_token: str | None) -> bool | None:
        """Whether the node token came from this enrollment token; ``None`` where that is not known."""
        digest = self._enrollment().get("enrollmentTokenHash")
        return digest == _digest(enrollment_token) if isinstance(digest, str) else None

    def install_id(self) -> str:
        """An id of this data folder, made once; the server may replace its own half-made node by it."""
        record = self._enrollment()
        install_id = record.get("installId")
        if not isinstance(install_id, str) or not install_id:
            install_id = uuid.uuid4().hex
            self._write("enrollment.json", json.dumps(record | {"installId": install_id}).encode())
        return install_id

    def keep_plan(self, memory: Memory) -> None:
        """Keep what this node runs, for a boot while the server is away."""
        body = json.dumps(
            {
                "pipelines": [spec_to_json(spec) for spec in memory.pipelines],
                "declined": [
                    {
                        "pipelineId": entry.pipeline_id,
                        "checksum": entry.checksum,
                        "version": entry.version,
                        "error": entry.error,
                        "attempts": entry.attempts,
                    }
                    for entry in memory.declined
                ],
                "unproved": memory.unproved,
                "crashes": dict(memory.crashes),
            }
        ).encode()
        # The digest in front tells a whole file from what a failing disk may leave of one.
        self._write("plan.json", hashlib.sha256(body).hexdigest().encode() + b"\n" + body)

    def plan(self) -> Memory:
        """What this node last ran; nothing if it never ran anything. StoreError if that cannot be read."""
        content = self._read("plan.json")
        if content is None:
            return Memory()
        digest, _, body = content.partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != digest:
            raise StoreError(f"cannot read {self.data_dir / 'plan.json'}: it is damaged")
        try:
            record = json.loads(body)
            specs = tuple(parse_spec(entry) for entry in record["pipelines"])
            declined = tuple(
                Declined(
                    pipeline_id=str(entry["pipelineId"]),
                    checksum=str(entry["checksum"]),
                    version=int(entry["version"]),
                    error=str(entry["error"]),
                    attempts=int(entry["attempts"]),
                    refused=False,
                )
                for entry in record["declined"]
            )
            # The first releases did not keep these two.
            unproved = tuple(str(id) for id in record.get("unproved", ()))
            crashes = tuple((str(id), int(count)) for id, count in record.get("crashes", {}).items())
        except (ValueError, KeyError, TypeError, AttributeError, AnswerRefusedError) as error:
            raise StoreError(
                f"cannot read {self.data_dir / 'plan.json'}: another release wrote it ({error})"
            ) from error
        return Memory(specs, declined, unproved, crashes)

    def last_contact(self) -> str | None:
        """When the server last answered, as it was kept; ``None`` where that is not known."""
        try:
            content = self._read("last-contact") or b""
        except StoreError:
            return None
        return content.decode("ascii", "replace").strip()[:30] or None

    def keep_contact(self, moment: str) -> None:
        """Keep when the server last answered. StoreError if that fails."""
        try:
            write_atomically(self.data_dir / "last-contact", moment.encode() + b"\n", is_lasting=False)
        except OSError as error:
            raise StoreError(f"cannot write {self.data_dir / 'last-contact'}: {error.strerror}") from error

    def keep_actions(self, records: Iterable[ActionRecord]) -> None:
        """Keep which actions were taken up, so that no later life does one again."""
        body = {"actions": [_action_to_json(record) for record in records]}
        self._write("actions.json", json.dumps(body).encode())

    def actions(self) -> tuple[ActionRecord, ...]:
        """Which actions were taken up; none if it never was asked for any. StoreError if that cannot be read."""
        content = self._read("actions.json")
        if content is None:
            return ()
        try:
            return tuple(_parse_action(entry) for entry in json.loads(content)["actions"])
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"cannot read {self.data_dir / 'actions.json'}: it is damaged") from error

    def pipeline_dir(self, pipeline_id: str) -> Path:
        """The folder of one pipeline."""
        return self.data_dir / "pipelines" / pipeline_id

    def write_pipeline_file(self, pipeline_id: str, name: str, text: str) -> Path:
        """Write one file of a pipeline, if it is not as it should be; where it is. OSError if that fails."""
        folder = self.pipeline_dir(pipeline_id)
        (folder / "data").mkdir(parents=True, exist_ok=True, mode=0o700)
        if _content_of(folder / name) != text.encode():
            # A disk that is full does not keep from starting again what is already on it.
            write_atomically(folder / name, text.encode(), is_lasting=False)
        return folder / name

    def write_cert_files(self, spec: PipelineSpec) -> None:
        """Write a pipeline's certificates; StoreError if one is no base64, OSError if writing fails."""
        folder = self.data_dir / "certs"
        if spec.cert_files:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for file in spec.cert_files:
            try:
                content = base64.b64decode(file.data, validate=True)
            except binascii.Error as error:
                raise StoreError(f"cannot write certificate {file.base_name}: it is not base64") from error
            if _content_of(folder / file.base_name) != content:
                write_atomically(folder / file.base_name, content, is_lasting=False)

    def remove_certificates(self, base_names: Iterable[str]) -> None:
        """Remove certificates that nothing needs any more; OSError if that fails."""
        for name in base_names:
            (self.data_dir / "certs" / name).unlink(missing_ok=True)

    def remove_pipeline(self, pipeline_id: str) -> None:
        """Forget a pipeline's configuration. Vector's checkpoints and buffers stay, should it come back."""
        for path in self.pipeline_dir(pipeline_id).glob("*.yaml"):
            path.unlink(missing_ok=True)

    def remove_leftovers(self) -> None:
        """Remove what an earlier life of the agent left half written."""
        for path in [
            found for depth in ("", "*/", "pipelines/*/") for found in self.data_dir.glob(f"{depth}.*.tmp")
        ]:
            path.unlink(missing_ok=True)
        for folder in self.data_dir.glob("pipelines/*/validating-*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _enrollment(self) -> dict[str, Any]:
        try:
            record = json.loads(self._read("enrollment.json") or b"{}")
        except ValueError:
            return {}
        return record if isinstance(record, dict) else {}

    def _read(self, name: str) -> bytes | None:
        try:
            return (self.data_dir / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"cannot read {self.data_dir / name}: {error.strerror}") from error

    def _write(self, name: str, content: bytes) -> None:
        try:
            write_atomically(self.data_dir / name, content, is_lasting=True)
        except OSError as error:
            raise StoreError(f"cannot write {self.data_dir / name}: {error.strerror}") from error


def write_atomically(path: Path, content: bytes, *, is_lasting: bool) -> None:
    """Replace ``path`` by ``content``, 0600; a reader sees the old or the new, never a part.

    ``is_lasting``: the new content has reached the disk on return, and a power cut cannot bring a torn file.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if is_lasting:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if is_lasting:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _content_of(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _action_to_json(record: ActionRecord) -> dict[str, object]:
    return {
        "actionId": record.action_id,
        "type": record.type,
        "done": record.done,
        "error": record.error,
        "told": record.told,
    }


def _parse_action(entry: Any) -> ActionRecord:
    error = entry["error"]
    return ActionRecord(
        action_id=str(entry["actionId"]),
        type=str(entry["type"]),
        done=entry["done"] is True,
        error=str(error) if error is not None else None,
        told=entry["told"] is True,
    )


def _digest(token: str | None) -> str | None:
    return hashlib.sha256(token.encode()).hexdigest() if token is not None else None
