"""Ed25519 signatures checked in pure Python, after RFC 8032: the agent's one file can hold no compiled library.

Only checking, never signing: nothing here is secret, so nothing needs to take the same time for every input.

Strict where the RFC leaves room: S must be below the group's order (else a signature has a twin), coordinates
must be below p, a key of small order is refused (a signature for every message is easily found for it), and the
equation is the one without the cofactor, as OpenSSL checks it.
"""

from __future__ import annotations

import hashlib

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)
KEY_BYTES = 32
SIGNATURE_BYTES = 64

Point = tuple[int, int, int, int]
"""Extended coordinates X, Y, Z, T with x = X/Z, y = Y/Z, xy = T/Z."""
IDENTITY: Point = (0, 1, 1, 0)


def verify(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether ``signature`` (64 bytes) is ``public_key``'s (32 bytes) for ``message``; False for anything odd."""
    if len(signature) != SIGNATURE_BYTES:
        return False
    key = _decode(public_key)
    if key is None or _is_small(key):
        return False
    commitment, scalar = signature[:32], int.from_bytes(signature[32:], "little")
    if scalar >= ORDER:
        return False
    digest = hashlib.sha512(commitment + public_key + message).digest()
    challenge = int.from_bytes(digest, "little") % ORDER
    x, y, z, t = key
    expected = _add(_multiply(scalar, BASE), _multiply(challenge, (-x % P, y, z, -t % P)))
    return _encode(expected) == commitment


def is_key(public_key: bytes) -> bool:
    """Whether these bytes can be a public key at all."""
    point = _decode(public_key)
    return point is not None and not _is_small(point)


def _add(a: Point, b: Point) -> Point:
    x1, y1, z1, t1 = a
    x2, y2, z2, t2 = b
    s = (y1 - x1) * (y2 - x2) % P
    u = (y1 + x1) * (y2 + x2) % P
    v = 2 * t1 * t2 * D % P
    w = 2 * z1 * z2 % P
    e, f, g, h = u - s, w - v, w + v, u + s
    return e * f % P, g * h % P, f * g % P, e * h % P


def _multiply(scalar: int, point: Point) -> Point:
    product = IDENTITY
    while scalar:
        if scalar & 1:
            product = _add(product, point)
        point = _add(point, point)
        scalar >>= 1
    return product


def _is_small(point: Point) -> bool:
    """Whether eight times the point is the identity."""
    x, y, z, _ = _multiply(8, point)
    return x == 0 and y == z


def _encode(point: Point) -> bytes:
    x, y, z, _ = point
    inverse = pow(z, -1, P)
    x, y = x * inverse % P, y * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _decode(encoded: bytes) -> Point | None:
    if len(encoded) != KEY_BYTES:
        return None
    number = int.from_bytes(encoded, "little")
    sign, y = number >> 255, number & ((1 << 255) - 1)
    if y >= P:
        return None
    x_squared = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(x_squared, (P + 3) // 8, P)
    if x * x % P != x_squared:
        x = x * ROOT_OF_MINUS_ONE % P
    if x * x % P != x_squared or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


_base = _decode((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
assert _base is not None
BASE: Point = _base
