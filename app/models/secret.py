"""Secrets and certificates, encrypted; and what was last assembled from them, encrypted too."""

from __future__ import annotations

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Integer, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base
from app.encryption import Sealed
from app.models.columns import Id, Moment


class SealedColumns:
    """An encrypted value (``app/encryption.py``) beside the id of its key."""

    key_id: Mapped[str] = mapped_column(String(16))
    data: Mapped[bytes] = mapped_column(LargeBinary)
    """Nonce, ciphertext and tag."""

    @property
    def sealed(self) -> Sealed:
        """Both together."""
        return Sealed(self.key_id, self.data)

    @sealed.setter
    def sealed(self, value: Sealed) -> None:
        self.key_id, self.data = value


class Secret(SealedColumns, Base):
    """A value that pipelines of its environment may name; it never leaves but to nodes that run one of them."""

    __tablename__ = "secret"
    __table_args__ = (UniqueConstraint("environment_id", "variable"),)

    environment_id: Mapped[Id] = mapped_column(
        ForeignKey("environment.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    variable: Mapped[str] = mapped_column(String(120))
    """``VF_SECRET_<NAME>``: two secrets of one environment never have the same."""
    size: Mapped[int] = mapped_column(Integer)
    """Bytes that it takes in a child's environment."""
    updated_at: Mapped[Moment]


class Certificate(SealedColumns, Base):
    """PEM, certificates and keys alike, that pipelines of its environment may name; nodes get it as a file."""

    __tablename__ = "certificate"

    environment_id: Mapped[Id] = mapped_column(
        ForeignKey("environment.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    filename: Mapped[str] = mapped_column(String(100))
    """A base name; unique where it matters, see ``app/certificate_store.py``."""
    size: Mapped[int] = mapped_column(Integer)
    """Bytes of the file."""
    expires_at: Mapped[Moment | None]
    """Of the certificate in it that expires first; ``None`` where there is none, only a key."""
    updated_at: Mapped[Moment]


class LastAssembled(SealedColumns, Base):
    """The checksum that nodes were last given for a version that names secrets or certificates (hazard 4)."""

    __tablename__ = "last_assembled"
    __table_args__ = (
        ForeignKeyConstraint(
            ["pipeline_id", "version"],
            ["pipeline_version.pipeline_id", "pipeline_version.version"],
            ondelete="CASCADE",
        ),
    )

    pipeline_id: Mapped[Id] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    assembled_at: Mapped[Moment]
