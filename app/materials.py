"""What versions of pipelines name, opened: secrets as their children's environment, certificates as files."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import references
from app.encryption import DecryptionError, keyring
from app.models import Certificate, Secret
from app.references import Names

SECRET, CERTIFICATE = "secret", "certificate"


class UnassembledError(Exception):
    """A version cannot be assembled just now; the message is a sentence for people, without any value."""


@dataclass(frozen=True, slots=True)
class CertFile:
    """A certificate as nodes get it."""

    name: str
    filename: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Material:
    """What one version gets beside its YAML."""

    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Escaped values by variable."""
    cert_files: tuple[CertFile, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """What ``from_json`` takes, values included."""
        return {
            "secrets": dict(self.secrets),
            "cert_files": [
                [file.name, file.filename, base64.b64encode(file.data).decode()] for file in self.cert_files
            ],
        }

    @classmethod
    def from_json(cls, material: Mapping[str, Any]) -> Material:
        """What ``to_json`` gave."""
        return cls(
            material["secrets"],
            tuple(
                CertFile(name, filename, base64.b64decode(data))
                for name, filename, data in material["cert_files"]
            ),
        )


NOTHING = Material()


class Materials:
    """What some versions of one environment name, read in at most two queries; each value is opened once."""

    def __init__(self, session: Session, environment_id: str, wanted: Iterable[Names]) -> None:
        self._environment_id = environment_id
        secret_names: set[str] = set()
        certificate_names: set[str] = set()
        for names in wanted:
            secret_names.update(names.secrets)
            certificate_names.update(names.certificates)
        self._secrets: dict[str, Secret] = {}
        self._certificates: dict[str, Certificate] = {}
        # Always with the environment: a name means nothing without it.
        if secret_names:
            secret_rows = session.scalars(
                select(Secret).where(
                    Secret.environment_id == environment_id, Secret.name.in_(sorted(secret_names))
                )
            )
            self._secrets = {row.name: row for row in secret_rows}
        if certificate_names:
            certificate_rows = session.scalars(
                select(Certificate).where(
                    Certificate.environment_id == environment_id,
                    Certificate.name.in_(sorted(certificate_names)),
                )
            )
            self._certificates = {row.name: row for row in certificate_rows}
        self._opened: dict[tuple[str, str], bytes] = {}

    def of(self, names: Names) -> Material:
        """Exactly what *names* names.

        :raises UnassembledError: something of it is missing or cannot be decrypted.
        """
        return Material(
            {
                references.variable_of(name): references.escaped(
                    self._open(SECRET, name, self._secrets.get(name)).decode()
                )
                for name in names.secrets
            },
            tuple(
                CertFile(name, filename, self._open(CERTIFICATE, name, self._certificates.get(name)))
                for name, filename in sorted(names.certificates.items())
            ),
        )

    def _open(self, kind: str, name: str, row: Secret | Certificate | None) -> bytes:
        value = self._opened.get((kind, name))
        if value is None:
            if row is None:
                raise UnassembledError(f'The {kind} "{name}" does not exist any more.')
            try:
                value = keyring().open(row.sealed, self._environment_id, kind, name)
            except DecryptionError as error:
                raise UnassembledError(f'The {kind} "{name}" {error}.') from None
            self._opened[kind, name] = value
        return value
