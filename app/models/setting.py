"""Settings that people change while the server runs; what is not here has its value from ``app/config.py``."""

from __future__ import annotations

from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base
from app.models.columns import JsonColumn, Moment


class Setting(Base):
    """One named setting, for example ``pollIntervalMs``."""

    __tablename__ = "setting"

    name: Mapped[str] = mapped_column(String(50), primary_key=True)
    value: Mapped[Any] = mapped_column(JsonColumn)
    updated_at: Mapped[Moment]
