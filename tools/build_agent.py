"""``make agent``: the agent and the libraries that it needs as one file, ``dist/signalbox-agent.pyz``.

The same sources give the same bytes: sorted names, one date, nothing compressed (zlib's output differs between its
releases, and an archive that Python need not inflate starts sooner). Beside it lies ``signalbox-agent.json``: its
version, its checksum, and where SIGNALBOX_SIGNING_KEY names a private key, its signature.

    python -m tools.build_agent [FOLDER]    build into FOLDER, default dist
    python -m tools.build_agent --new-key   print a new private key and its public half

The libraries are those of the virtual environment that this runs in, at the versions of requirements.txt.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import io
import json
import os
import re
import sys
import zipfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent import __version__
from agent.update import signed_message

PROJECT = Path(__file__).resolve().parent.parent
LIBRARIES = ("requests", "urllib3", "idna", "certifi", "charset-normalizer", "websocket-client")
FILE = "signalbox-agent.pyz"
DESCRIPTION = "signalbox-agent.json"
SIGNING_KEY = "SIGNALBOX_SIGNING_KEY"
SHEBANG = b"#!/usr/bin/env python3\n"
LONG_AGO = (1980, 1, 1, 0, 0, 0)
MAIN = b"import sys\n\nfrom agent.starter import main\n\nsys.exit(main())\n"
LICENCE = re.compile(r"(LICEN[CS]E|COPYING|NOTICE)", re.IGNORECASE)


class BuildError(Exception):
    """The file cannot be built; the message is one sentence."""


def sources() -> dict[str, bytes]:
    """Every file that goes in, by its name in the archive."""
    files = {"__main__.py": MAIN}
    for path in sorted((PROJECT / "agent").rglob("*.py")):
        files[path.relative_to(PROJECT).as_posix()] = path.read_bytes()
    for name in LIBRARIES:
        files |= _library(name)
    return files


def archive(files: Mapping[str, bytes], signing_key: Ed25519PrivateKey | None = None) -> bytes:
    """The one file. Into its ``agent/build.py`` go a digest of all that is in it and the public key."""
    public = _public(signing_key) if signing_key is not None else None
    digest = hashlib.sha256(repr(public).encode())
    for name, content in sorted(files.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    build = files["agent/build.py"].decode()
    for line, value in (("BUILD_ID", digest.hexdigest()[:32]), ("UPDATE_KEY", public)):
        build = _assign(build, line, value)
    out = io.BytesIO()
    out.write(SHEBANG)
    with zipfile.ZipFile(out, "a", zipfile.ZIP_STORED) as packed:
        for name, content in sorted((files | {"agent/build.py": build.encode()}).items()):
            entry = zipfile.ZipInfo(name, LONG_AGO)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            packed.writestr(entry, content)
    return out.getvalue()


def describe(content: bytes, version: str, signing_key: Ed25519PrivateKey | None = None) -> dict[str, str]:
    """What lies beside the file: ``{version, checksum, signature?, publicKey?}``."""
    digest = hashlib.sha256(content).hexdigest()
    description = {"version": version, "checksum": f"sha256:{digest}"}
    if signing_key is not None:
        signature = signing_key.sign(signed_message(version, digest))
        description["signature"] = base64.b64encode(signature).decode()
        description["publicKey"] = _public(signing_key)
    return description


def build(folder: Path, signing_key: Ed25519PrivateKey | None = None) -> dict[str, str]:
    """Write both files; the description."""
    content = archive(sources(), signing_key)
    description = describe(content, __version__, signing_key)
    folder.mkdir(parents=True, exist_ok=True)
    # A server may be serving the old pair: what does not match for a moment is not offered.
    _replace(folder / FILE, content, 0o755)
    _replace(folder / DESCRIPTION, json.dumps(description, indent=1).encode() + b"\n", 0o644)
    return description


def parse_signing_key(text: str) -> Ed25519PrivateKey | None:
    """The private key, base64 of 32 bytes; ``None`` for an empty text."""
    if not text.strip():
        return None
    try:
        return Ed25519PrivateKey.from_private_bytes(base64.b64decode(text.strip(), validate=True))
    except (binascii.Error, ValueError) as error:
        raise BuildError(
            f"{SIGNING_KEY} is not the base64 form of 32 bytes; python -m tools.build_agent --new-key makes one"
        ) from error


def _library(name: str) -> dict[str, bytes]:
    try:
        found = distribution(name)
    except PackageNotFoundError as error:
        raise BuildError(f"{name} is not installed; run make agent") from error
    if found.version != (wanted := _pinned(name)):
        raise BuildError(f"{name} {found.version} is installed, not {wanted}; run make agent")
    return {
        path.as_posix(): Path(str(found.locate_file(path))).read_bytes()
        for path in sorted(found.files or [])
        if _belongs(path.as_posix())
    }


def _belongs(name: str) -> bool:
    """Pure Python, the certificates, and the licences under which all of it may travel."""
    if name.startswith("..") or "/tests/" in name or "__pycache__" in name:
        return False
    if ".dist-info/" in name:
        return LICENCE.match(name.rpartition("/")[2]) is not None
    return name.endswith((".py", ".pem"))


def _pinned(name: str) -> str:
    pins = (PROJECT / "requirements.txt").read_text()
    match = re.search(rf"^{re.escape(name)}==(\S+)$", pins, re.MULTILINE)
    if match is None:
        raise BuildError(f"requirements.txt does not pin {name}")
    return match[1]


def _assign(text: str, name: str, value: str | None) -> str:
    changed, count = re.subn(
        rf"^{name}: str \| None = None$", f"{name}: str | None = {value!r}", text, flags=re.M
    )
    assert count == 1, f"agent/build.py does not assign {name}"
    return changed


def _public(key: Ed25519PrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def _replace(path: Path, content: bytes, mode: int) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.chmod(mode)
    temporary.replace(path)


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.build_agent", description="Build the agent's one file."
    )
    parser.add_argument("folder", nargs="?", type=Path, default=PROJECT / "dist")
    parser.add_argument("--new-key", action="store_true", help="print a new key pair and build nothing")
    arguments = parser.parse_args()
    if arguments.new_key:
        key = Ed25519PrivateKey.generate()
        print(f"{SIGNING_KEY}={base64.b64encode(key.private_bytes_raw()).decode()}")
        print(f"SIGNALBOX_UPDATE_KEY={_public(key)}")
        return 0
    try:
        description = build(arguments.folder, parse_signing_key(os.environ.get(SIGNING_KEY, "")))
    except BuildError as error:
        print(f"cannot build the agent: {error}", file=sys.stderr)
        return 1
    signed = f"signed with {description['publicKey']}" if "signature" in description else "not signed"
    print(f"{arguments.folder / FILE}: {description['version']} {description['checksum']}, {signed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
