"""Label selectors in Kubernetes' syntax: ``zone=a,tier!=db,region in (x,y),gpu,!spot``.

All requirements must hold; an empty selector matches everything. As in Kubernetes, ``!=`` and ``notin`` also
match where the key is absent, ``==`` means ``=``, and ``key in ()`` asks for the empty value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from app.errors import InvalidInputError

MAX_SELECTOR_CHARACTERS = 4096
MAX_LABELS = 64
MAX_KEY_CHARACTERS = 63
MAX_PREFIX_CHARACTERS = 253
MAX_VALUE_CHARACTERS = 253
MAX_LABELS_BYTES = 8 * 1024

_TOKEN = re.compile(r"\s*(?:(?P<mark>!=|==|[=!(),])|(?P<word>[^\s=!(),<>]+)|(?P<other>[<>]))")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?")
_PREFIX = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Operator(Enum):
    """What a requirement asks of one key."""

    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One part of a selector; ``values`` is empty for EXISTS and ABSENT."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether *labels* meet this requirement."""
        match self.operator:
            case Operator.IN:
                return self.key in labels and labels[self.key] in self.values
            case Operator.NOT_IN:
                return self.key not in labels or labels[self.key] not in self.values
            case Operator.EXISTS:
                return self.key in labels
            case Operator.ABSENT:
                return self.key not in labels

    def __str__(self) -> str:
        if self.operator is Operator.EXISTS:
            return self.key
        if self.operator is Operator.ABSENT:
            return f"!{self.key}"
        if len(self.values) == 1:
            (value,) = self.values
            return f"{self.key}{'=' if self.operator is Operator.IN else '!='}{value}"
        return f"{self.key} {self.operator.value} ({','.join(sorted(self.values))})"


@dataclass(frozen=True, slots=True)
class Selector:
    """A parsed selector; ``str()`` is one spelling of it, which parses to an equal one."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether *labels* meet every requirement."""
        return all(requirement.matches(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        return ",".join(str(requirement) for requirement in self.requirements)


class _Token(NamedTuple):
    text: str
    is_word: bool
    place: int
    """Index of its first character."""


def parse(text: str, field: str = "nodeSelector") -> Selector:
    """Read a selector; *field* is what ``details`` call it.

    :raises InvalidInputError: with a sentence that points at the place.
    """
    if len(text) > MAX_SELECTOR_CHARACTERS:
        raise _refusal(field, f"it is longer than {MAX_SELECTOR_CHARACTERS} characters")
    return _Parser(text, field).selector()


def check_labels(labels: Mapping[str, str], field: str = "labels") -> None:
    """Refuse labels that no selector could name or that are too many.

    :raises InvalidInputError: ``details`` name the keys as ``labels.<key>``.
    """
    if len(labels) > MAX_LABELS:
        _refuse_labels(field, f"there are more than {MAX_LABELS} labels")
    for key, value in labels.items():
        problem = key_problem(key)
        if problem is None and len(value) > MAX_VALUE_CHARACTERS:
            problem = f"a label's value has at most {MAX_VALUE_CHARACTERS} characters"
        if problem is None and _UNPRINTABLE.search(value):
            problem = "a label's value cannot hold control characters"
        if problem is not None:
            _refuse_labels(f"{field}.{_UNPRINTABLE.sub('?', key[:80])}", problem)
    if len(json.dumps(dict(labels), ensure_ascii=False).encode()) > MAX_LABELS_BYTES:
        _refuse_labels(field, f"the labels take more than {MAX_LABELS_BYTES} bytes")


def key_problem(key: str) -> str | None:
    """Why *key* cannot be a label's key (``name`` or ``prefix/name``), or ``None``."""
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > MAX_PREFIX_CHARACTERS or not _PREFIX.fullmatch(prefix)):
        return "the part of a label's key before the slash must be a DNS name in lower case"
    if len(name) > MAX_KEY_CHARACTERS:
        return f"a label's key has at most {MAX_KEY_CHARACTERS} characters"
    if not _NAME.fullmatch(name):
        return (
            "a label's key consists of letters, digits, '-', '_' and '.',"
            " and begins and ends with a letter or digit"
        )
    return None


def _refuse_labels(field: str, problem: str) -> None:
    raise InvalidInputError(f"The labels cannot be used: {problem}.", [{"field": field, "message": problem}])


def _refusal(field: str, problem: str) -> InvalidInputError:
    return InvalidInputError(
        f"The selector cannot be read: {problem}.", [{"field": field, "message": problem}]
    )


class _Parser:
    """One pass from left to right over the tokens of one selector."""

    def __init__(self, text: str, field: str):
        self.text = text
        self.field = field
        self.tokens = self._tokens()
        self.position = 0

    def selector(self) -> Selector:
        if self.tokens[0].text == "":
            return Selector()
        requirements = [self._requirement()]
        while self._take(","):
            requirements.append(self._requirement())
        if self._peek().text:
            raise self._expected('"," or the end')
        return Selector(tuple(requirements))

    def _requirement(self) -> Requirement:
        if self._take("!"):
            return Requirement(self._key(), Operator.ABSENT)
        key = self._key()
        if self._take("=") or self._take("=="):
            return Requirement(key, Operator.IN, frozenset([self._value()]))
        if self._take("!="):
            return Requirement(key, Operator.NOT_IN, frozenset([self._value()]))
        for operator in (Operator.IN, Operator.NOT_IN):
            if self._take(operator.value):
                return Requirement(key, operator, self._values())
        if self._peek().text not in ("", ","):
            raise self._expected('"=", "!=", "in", "notin", "," or the end')
        return Requirement(key, Operator.EXISTS)

    def _key(self) -> str:
        token = self._peek()
        if not token.is_word:
            raise self._expected("a label's key")
        problem = key_problem(token.text)
        if problem is not None:
            raise _refusal(self.field, f"{problem} ({self._place(token)})")
        self.position += 1
        return token.text

    def _value(self) -> str:
        token = self._peek()
        if not token.is_word:
            return ""  # "zone=" asks for the empty value
        if len(token.text) > MAX_VALUE_CHARACTERS:
            raise _refusal(
                self.field,
                f"a value has at most {MAX_VALUE_CHARACTERS} characters (character {token.place + 1})",
            )
        self.position += 1
        return token.text

    def _values(self) -> frozenset[str]:
        if not self._take("("):
            raise self._expected('"("')
        values = {self._value()}
        while self._take(","):
            values.add(self._value())
        if not self._take(")"):
            raise self._expected('"," or ")"')
        return frozenset(values)

    def _take(self, text: str) -> bool:
        if self._peek().text != text:
            return False
        self.position += 1
        return True

    def _peek(self) -> _Token:
        return self.tokens[self.position]

    def _expected(self, what: str) -> InvalidInputError:
        return _refusal(self.field, f"expected {what} at {self._place(self._peek())}")

    @staticmethod
    def _place(token: _Token) -> str:
        if not token.text:
            return "the end"
        return f'character {token.place + 1}, "{_UNPRINTABLE.sub("?", token.text[:40])}"'

    def _tokens(self) -> list[_Token]:
        """The tokens, the last of which is empty and stands for the end."""
        tokens = []
        place = 0
        while match := _TOKEN.match(self.text, place):
            kind = match.lastgroup or "other"
            tokens.append(_Token(match[kind], kind == "word", match.start(kind)))
            place = match.end()
        return [*tokens, _Token("", False, len(self.text))]
