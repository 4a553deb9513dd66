"""A server that speaks TLS itself, which production leaves to a proxy: its sockets cannot be handed over."""

import socket
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.support.server import Server


class TlsServer(Server):
    """Over the settings of another one: the same installation. One worker."""

    def __init__(self, folder: Path, settings: Mapping[str, str], certificate: Path) -> None:
        tls = f"--certfile={certificate} --keyfile={certificate}"
        super().__init__(folder, {**settings, "GUNICORN_CMD_ARGS": tls}, workers=1)
        self._certificate = certificate

    @property
    def url(self) -> str:
        return super().url.replace("http://127.0.0.1", "https://localhost")

    def _is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/readyz", timeout=5, verify=str(self._certificate)).ok
        except (requests.ConnectionError, requests.Timeout):  # nothing listens yet
            return False

    def dial(self) -> socket.socket:
        """A TLS connection to it."""
        raw = socket.create_connection(("127.0.0.1", urlsplit(self.url).port or 0), timeout=10)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self._certificate)
        return context.wrap_socket(raw, server_hostname="localhost")


def self_signed(folder: Path, *others: str) -> Path:
    """A certificate for localhost (and the names of `others`) and its key, in one file; its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=90))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(host) for host in ("localhost", *others)]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "localhost.pem"
    file.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    return file
