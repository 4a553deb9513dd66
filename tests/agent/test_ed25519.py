"""Signatures checked in pure Python: the RFC's examples, and what `cryptography` says of thousands of others."""

import random

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from agent import ed25519

RFC_8032 = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
        "387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
        "4a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd"
        "454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e030"
        "3dca179c138ac17ad9bef1177331a704",
    ),
]
SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
]


@pytest.mark.parametrize(("key", "message", "signature"), RFC_8032)
def test_the_examples_of_the_rfc(key: str, message: str, signature: str) -> None:
    """Section 7.1; each is refused with any one bit changed in key, message or signature."""
    parts = [bytes.fromhex(key), bytes.fromhex(signature), bytes.fromhex(message)]
    assert ed25519.verify(*parts)
    rng = random.Random(key)
    for number, part in enumerate(parts):
        for bit in rng.sample(range(len(part) * 8), min(8, len(part) * 8)):
            changed = bytearray(part)
            changed[bit // 8] ^= 1 << bit % 8
            assert not ed25519.verify(*(bytes(changed) if n == number else p for n, p in enumerate(parts)))


def test_it_agrees_with_cryptography() -> None:
    """On random keys and messages, signed well and spoilt in random places."""
    rng = random.Random(8032)
    for _ in range(60):
        private = Ed25519PrivateKey.from_private_bytes(rng.randbytes(32))
        key, message = private.public_key().public_bytes_raw(), rng.randbytes(rng.randrange(200))
        signature = bytearray(private.sign(message))
        assert ed25519.verify(key, bytes(signature), message)
        signature[rng.randrange(64)] ^= 1 << rng.randrange(8)
        assert ed25519.verify(key, bytes(signature), message) == _accepts(key, bytes(signature), message)
        stranger = rng.randbytes(32)
        assert ed25519.verify(stranger, bytes(signature), message) is False


def _accepts(key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def test_a_signature_has_no_twin() -> None:
    """S plus the order solves the same equation; it is refused, as is R with its y beyond p."""
    private = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    key, message = private.public_key().public_bytes_raw(), b"message"
    signature = private.sign(message)
    scalar = int.from_bytes(signature[32:], "little")
    for factor in range(1, 15):
        if (twin := scalar + factor * ed25519.ORDER) < 2**256:
            assert not ed25519.verify(key, signature[:32] + twin.to_bytes(32, "little"), message)


@pytest.mark.parametrize("encoded", SMALL_ORDER)
def test_a_key_of_small_order_is_no_key(encoded: str) -> None:
    """R = the key, S = 0 would be a good signature for every message, or for one in a few."""
    key = bytes.fromhex(encoded)
    assert not ed25519.is_key(key)
    identity = bytes.fromhex(SMALL_ORDER[0])
    assert not any(ed25519.verify(key, identity + bytes(32), bytes([n])) for n in range(16))


@pytest.mark.parametrize("y", [ed25519.P, ed25519.P + 1, ed25519.P + 3, 2**255 - 1])
def test_a_coordinate_beyond_p_is_no_key(y: int) -> None:
    """Each point has one spelling."""
    assert not ed25519.is_key(y.to_bytes(32, "little"))


@pytest.mark.parametrize("length", [0, 1, 31, 33, 63, 65, 128])
def test_odd_lengths_are_refused(length: int) -> None:
    """Without an exception: these bytes come from the network."""
    key, message, signature = (bytes.fromhex(text) for text in RFC_8032[1])
    assert not ed25519.verify(key, signature[:length].ljust(length, b"\0"), message)
    assert not ed25519.verify(key[:length].ljust(length, b"\0"), signature, message)
