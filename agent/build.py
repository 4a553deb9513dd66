"""What ``make agent`` writes into the one file; a source tree knows nothing of itself."""

from __future__ import annotations

BUILD_ID: str | None = None
"""Of the file that this is part of: a digest of all that is in it."""
UPDATE_KEY: str | None = None
"""The Ed25519 public key, base64, that later files must be signed with; ``None`` where the build had no key."""
