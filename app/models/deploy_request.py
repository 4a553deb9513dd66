"""Requests to deploy in a protected environment: what somebody asks for and somebody else is to approve."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, Integer, String, Text, column
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base
from app.models.columns import Id, JsonColumn, Moment

_IS_OPEN = column("state") == "open"


class DeployRequest(Base):
    """What is asked for, frozen when it was asked: what is approved is this, whatever the draft has become."""

    __tablename__ = "deploy_request"
    __table_args__ = (
        Index("ix_deploy_request_pipeline_id_id", "pipeline_id", "id"),
        Index(
            "ix_deploy_request_open",
            "environment_id",
            "pipeline_id",
            sqlite_where=_IS_OPEN,
            postgresql_where=_IS_OPEN,
        ),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    pipeline_id: Mapped[Id] = mapped_column(ForeignKey("pipeline.id", ondelete="CASCADE"))
    environment_id: Mapped[Id] = mapped_column(ForeignKey("environment.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(10))
    """``deploy``, ``rollback`` or ``undeploy``."""
    config_yaml: Mapped[str] = mapped_column(Text)
    """Empty for an undeploy."""
    node_selector: Mapped[str] = mapped_column(Text)
    """Of an undeploy: that of what is deployed."""
    log_level: Mapped[str | None] = mapped_column(String(10))
    changelog: Mapped[str | None] = mapped_column(Text)
    from_version: Mapped[int | None] = mapped_column(Integer)
    """Which version a rollback goes back to."""
    base_version: Mapped[int | None] = mapped_column(Integer)
    """What was deployed when it was asked; any later deployment overtakes the request."""
    checksum: Mapped[str] = mapped_column(String(64))
    """SHA-256 over all of what is asked for, see ``deploy_requests.checksum``."""
    targets: Mapped[list[list[str]]] = mapped_column(JsonColumn, deferred=True)
    """``[id, name]`` of the nodes that it would have reached when it was asked, by id."""
    target_count: Mapped[int] = mapped_column(Integer)
    targets_checksum: Mapped[str] = mapped_column(String(64))
    """SHA-256 over the ids in ``targets``."""
    asked_by: Mapped[str] = mapped_column(String(253))
    """As the audit log names them."""
    asker: Mapped[str] = mapped_column(String(40))
    """Who that counts as: ``account:<id>`` or ``token:<id>``; this one may not approve it."""
    asked_at: Mapped[Moment]
    expires_at: Mapped[Moment]
    state: Mapped[str] = mapped_column(String(10))
    """``open``; then once and for ever ``approved``, ``rejected``, ``cancelled``, ``expired`` or ``overtaken``."""
    decided_by: Mapped[str | None] = mapped_column(String(253))
    decided_at: Mapped[Moment | None]
    comment: Mapped[str | None] = mapped_column(Text)
    """Of whoever decided."""
    deployment_id: Mapped[Id | None]
    """The deployment that carried it out, or that overtook it."""
