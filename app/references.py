"""``SECRET[name]`` and ``CERT[name]``: how they are written into the YAML that nodes get, and what goes with it.

Only whole values are references, see ``app/pipeline_yaml.py``. The text is cut at each and a text in double
quotes put in; all else, comments and anchors included, stays as people wrote it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
"""What stands in the path of a certificate's file: nothing that YAML or Vector could take for more."""
CERTIFICATE_FOLDER = "${VF_DATA_DIR:-/var/lib/vf-agent}/certs"

_NOT_OF_A_VARIABLE = re.compile(r"[^A-Z0-9]")
_RAW_IN_JSON_ONLY = re.compile(r"[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""What ``json.dumps`` leaves as it is and YAML would refuse or fold."""


@dataclass(frozen=True, slots=True)
class Names:
    """What one version of a pipeline names; stored with it."""

    secrets: tuple[str, ...] = ()
    certificates: Mapping[str, str] = field(default_factory=dict)
    """The base name of the file that stands in the version's YAML, by the certificate's name."""

    def __bool__(self) -> bool:
        return bool(self.secrets or self.certificates)

    def to_json(self) -> dict[str, Any]:
        """As it is stored."""
        return {"secrets": list(self.secrets), "certificates": dict(self.certificates)} if self else {}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Names:
        """What ``to_json`` made."""
        return cls(tuple(stored.get("secrets", ())), stored.get("certificates", {}))


@dataclass(frozen=True, slots=True)
class Reference:
    """A value that is to be put in from outside."""

    kind: str
    """``secret`` or ``certificate``."""
    name: str
    component: str | None
    line: int
    start: int
    """Where in the text (without a byte order mark), in characters; anchor included."""
    end: int
    anchor: str | None


def names_of(references: Iterable[Reference], file_names: Mapping[str, str]) -> Names:
    """What *references* name; *file_names* has the base name of each certificate's file."""
    named = {(reference.kind, reference.name) for reference in references}
    return Names(
        tuple(sorted(name for kind, name in named if kind == "secret")),
        {name: file_names[name] for kind, name in sorted(named) if kind == "certificate"},
    )


def render(config_yaml: str, references: Iterable[Reference], file_names: Mapping[str, str]) -> str:
    """*config_yaml* as nodes get it; the very same text where there are no *references*."""
    # Aliases lead to one place several times.
    places = {reference.start: reference for reference in references}
    if not places:
        return config_yaml
    text = config_yaml.removeprefix("\ufeff")
    parts, end = [], 0
    for start, reference in sorted(places.items()):
        written = text[start : reference.end]
        anchor = f"&{reference.anchor} " if reference.anchor else ""
        # A block scalar takes its line's end with it.
        rest = written[len(written.rstrip()) :]
        parts += [text[end:start], anchor, f'"{_replacement(reference, file_names)}"', rest]
        end = reference.end
    return "".join([*parts, text[end:]])


def variable_of(secret_name: str) -> str:
    """The environment variable in which a secret travels: ``db-password`` is ``VF_SECRET_DB_PASSWORD``."""
    return f"VF_SECRET_{_NOT_OF_A_VARIABLE.sub('_', secret_name.upper())}"


def escaped(value: str) -> str:
    """*value* as it can stand between double quotes in YAML and in JSON alike, on one line."""
    inner = json.dumps(value, ensure_ascii=False)[1:-1]
    return _RAW_IN_JSON_ONLY.sub(lambda match: f"\\u{ord(match[0]):04x}", inner)


def _replacement(reference: Reference, file_names: Mapping[str, str]) -> str:
    if reference.kind == "secret":
        return f"${{{variable_of(reference.name)}}}"
    return f"{CERTIFICATE_FOLDER}/{file_names[reference.name]}"
