"""Names that people give: one line, trimmed, bounded."""

from __future__ import annotations

from app.errors import InvalidInputError

MAX_NAME_CHARACTERS = 100


def checked(name: str, most: int = MAX_NAME_CHARACTERS, field: str = "name") -> str:
    """*name* without the spaces around it.

    :raises InvalidInputError: empty, longer than *most* characters, or with characters that do not print.
    """
    name = name.strip()
    if not name:
        message = "it is empty"
    elif len(name) > most:
        message = f"it has more than {most} characters"
    elif not name.isprintable():
        message = "it holds characters that do not print"
    else:
        return name
    raise InvalidInputError(f"The name cannot be used: {message}.", [{"field": field, "message": message}])
