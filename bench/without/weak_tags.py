"""Hazard 33: an `If-None-Match` must be the tag to the letter, as a strong comparison has it."""

from __future__ import annotations

from flask import Flask

from app.agent_api import config_answer
from bench.without import replace


def remove(app: Flask) -> None:
    """Replace the comparison."""
    replace(config_answer, "_is_known", lambda etag, said: said == f'"{etag}"')
