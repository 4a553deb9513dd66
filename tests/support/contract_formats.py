"""For schemathesis: values of the formats that only our OpenAPI document names, and what it cannot know."""

import base64
import datetime
import json
import string
from typing import Any

import schemathesis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import strategies as st

WORDS = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=12)
KEYS = st.builds(str.__add__, st.sampled_from(string.ascii_letters), WORDS)
SELECTORS = st.one_of(
    st.just(""),
    KEYS,
    KEYS.map("!{}".format),
    st.builds("{}={}".format, KEYS, WORDS),
    st.builds("{} in ({},{})".format, KEYS, WORDS, WORDS),
    st.builds("{}!={},{}".format, KEYS, WORDS, KEYS),
)


def _cursor(*key: str) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def _certificate() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fuzzed")])
    now = datetime.datetime(2026, 1, 1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now.replace(year=2046))
    data = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return base64.b64encode(data).decode()


FORMATS = {
    "name": st.builds("{} {}".format, WORDS, WORDS),
    "label-selector": SELECTORS,
    "label-key": KEYS,
    "label": WORDS,
    "web-address": st.builds("https://{}.example/{}".format, WORDS, WORDS),
    "file-name": WORDS.map("{}.pem".format),
    "version": st.builds("{}.{}".format, st.integers(0, 9), st.integers(0, 9)),
    "etags": st.just("*"),
    # Of the right form; a row like it was never there, so the list goes on with those behind it.
    "cursor": st.integers(0, 10**6).map(lambda number: _cursor(str(number))),
    "name-cursor": st.builds(_cursor, WORDS, WORDS),
    "e-mail": st.builds("{}@{}.example".format, WORDS, WORDS),
    "password": st.text(string.ascii_letters, min_size=8, max_size=20),
    "pem-in-base64": st.just(_certificate()),
}
for _name, _values in FORMATS.items():
    schemathesis.openapi.format(_name, _values)


@schemathesis.hook
def filter_query(context: Any, query: Any) -> bool:
    """An empty parameter counts as absent (`allowEmptyValue`), which schemathesis takes for bad data."""
    return not query or "" not in [value for value in query.values() if isinstance(value, str)]
