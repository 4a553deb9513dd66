"""What a PEM file holds, as far as anybody needs to know: whether it is one, and when it expires. Pure."""

from __future__ import annotations

import re
from datetime import datetime

from cryptography import x509

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,64})-----\s[A-Za-z0-9+/=\s:,.-]*?-----END \1-----")


class PemError(Exception):
    """It is no PEM file; the message says what is wrong with it and holds nothing of it."""


def expiry(data: bytes) -> datetime | None:
    """When the first of its certificates expires; ``None`` where it holds only keys or the like.

    :raises PemError: it holds no PEM, or a certificate that cannot be read.
    """
    kinds = [match[1] for match in _BLOCK.finditer(data)]
    if not kinds:
        raise PemError("it is no PEM file (-----BEGIN …-----)")
    if b"CERTIFICATE" not in kinds:
        return None
    try:
        certificates = x509.load_pem_x509_certificates(data)
    except ValueError:
        raise PemError("a certificate in it cannot be read") from None
    return min(certificate.not_valid_after_utc for certificate in certificates)
