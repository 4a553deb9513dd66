"""Which certificate authorities the server's certificate is checked against, for every kind of request alike."""

from __future__ import annotations

import os
from collections.abc import Mapping

VARIABLES = ("SIGNALBOX_CA_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""The first one that is set counts. The others are what a node with authorities of its own often has already."""


class AuthoritiesRefusedError(Exception):
    """The authorities that were named cannot be used; the message names the variable and the file."""


def named_authorities(environment: Mapping[str, str]) -> tuple[str, str] | None:
    """The variable that counts and its path; ``None`` where none is set: then certifi's are trusted."""
    for name in VARIABLES:
        if path := environment.get(name, "").strip():
            return name, path
    return None


def check_authorities(environment: Mapping[str, str]) -> None:
    """AuthoritiesRefusedError if what is named is no readable file (or folder) of PEM certificates."""
    named = named_authorities(environment)
    if named is None:
        return
    # Only now: few need it, and it takes a while to import.
    import ssl

    variable, path = named
    try:
        if os.path.isdir(path):
            os.listdir(path)
        else:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError as error:
        raise AuthoritiesRefusedError(f"{variable} holds no certificates in PEM form: {path!r}") from error
    except OSError as error:
        raise AuthoritiesRefusedError(
            f"{variable} names a file that cannot be read ({error.strerror}): {path!r}"
        ) from error
