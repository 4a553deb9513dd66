"""For schemathesis: values of the formats that only our OpenAPI document names, and what it cannot know."""

import base64
import datetime
import json
import os
import string
from collections import Counter
from typing import Any

import schemathesis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import strategies as st
from schemathesis.generation.meta import TestPhase

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


MOST_OF_A_KIND = int(os.environ.get("SIGNALBOX_FUZZ_MOST_OF_A_KIND", "0"))
"""Cases of the coverage phase that one operation gets of each kind; 0: all of them, which takes minutes."""
OWN_TOKEN, SPARE_TOKEN = (os.environ.get(f"SIGNALBOX_FUZZ_{each}_TOKEN", "") for each in ("OWN", "SPARE"))
"""The id of the token that this runs with, and of one that may be revoked in its place."""
_seen: Counter[tuple[str, ...]] = Counter()


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Of each kind of case (what is wrong or right with it, and in which part of the request) only the first few."""
    meta = case.meta
    if not MOST_OF_A_KIND or meta is None or meta.phase.name != TestPhase.COVERAGE:
        return True
    about = meta.phase.data
    kind = (case.operation.label, str(about.scenario), str(about.parameter_location))
    _seen[kind] += 1
    return _seen[kind] <= MOST_OF_A_KIND


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Whoever lists the tokens comes upon our own; were it revoked, all that follows would be refused."""
    if OWN_TOKEN and (case.path_parameters or {}).get("apiTokenId") == OWN_TOKEN:
        case.path_parameters = {**case.path_parameters, "apiTokenId": SPARE_TOKEN}
