"""Pipelines: a draft that people edit, and versions that nodes run."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base
from app.models.columns import Id, JsonColumn, Moment


class Pipeline(Base):
    """The draft, and which version (if any) is deployed."""

    __tablename__ = "pipeline"
    __table_args__ = (UniqueConstraint("environment_id", "name"),)

    id: Mapped[Id] = mapped_column(primary_key=True)
    environment_id: Mapped[Id] = mapped_column(ForeignKey("environment.id"))
    name: Mapped[str] = mapped_column(String(100))
    config_yaml: Mapped[str] = mapped_column(Text)
    node_selector: Mapped[str] = mapped_column(Text, default="")
    log_level: Mapped[str | None] = mapped_column(String(10))
    wanted_version: Mapped[int | None] = mapped_column(Integer)
    """The version that matching nodes must run; ``None`` while it is not deployed."""
    created_at: Mapped[Moment]
    updated_at: Mapped[Moment]


class PipelineVersion(Base):
    """What one deploy made: never changed afterwards.

    ``rendered_yaml`` and ``checksum`` are written once and served as they are for ever, so that a new release
    of the server that renders or hashes differently restarts nothing (hazard 3).
    """

    __tablename__ = "pipeline_version"

    pipeline_id: Mapped[Id] = mapped_column(ForeignKey("pipeline.id", ondelete="CASCADE"), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    config_yaml: Mapped[str] = mapped_column(Text)
    node_selector: Mapped[str] = mapped_column(Text, default="")
    log_level: Mapped[str | None] = mapped_column(String(10))
    rendered_yaml: Mapped[str] = mapped_column(Text)
    """The YAML with references resolved, as nodes get it."""
    checksum: Mapped[str] = mapped_column(String(64))
    """Over YAML and log level. A version that names secrets or certificates is served with one over those too."""
    checksum_scheme: Mapped[int] = mapped_column(Integer)
    """Which formula made the checksum, see ``app/assembly.py``."""
    reference_names: Mapped[dict[str, Any]] = mapped_column(JsonColumn, default=dict, server_default="{}")
    """The secrets and certificates that it names, see ``references.Names``."""
    changelog: Mapped[str | None] = mapped_column(Text)
    created_by: Mapped[str] = mapped_column(String(253))
    created_at: Mapped[Moment]
