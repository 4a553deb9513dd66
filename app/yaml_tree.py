"""Reading YAML that people write, without trusting it: a plain tree in which texts know their line.

The tree is built from libyaml's events, which come one at a time, so that depth and size are bounded before
anything is built: no recursion, no alias bomb, no object of a tag's choosing. Scalars mean what they mean to
Vector (YAML 1.2: ``on`` and ``yes`` are texts), keys are always texts, and ``<<`` merges, as Vector's does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

MAX_DEPTH = 50
MAX_NODES = 50_000
"""Scalars, lists and mappings, each counted as often as aliases repeat it."""

Tree = dict[Any, Any]
"""A mapping of the tree: its keys are ``PlacedText``, its values texts, numbers, ``None``, lists or trees."""

_UNREADABLE = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,39})|0x[0-9a-fA-F]{1,16}|0o[0-7]{1,22}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,40}|[0-9]{1,40}(?:\.[0-9]{0,40})?)(?:[eE][-+]?[0-9]{1,4})?")
_CONSTANTS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_TEXT_TAGS = ("!", "tag:yaml.org,2002:str")
_SCALAR_TAGS = tuple(f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float"))
_COLLECTION_TAGS = {
    yaml.MappingStartEvent: "tag:yaml.org,2002:map",
    yaml.SequenceStartEvent: "tag:yaml.org,2002:seq",
}


class Span(NamedTuple):
    """Where a scalar stands in the text, its tag and anchor included: characters, the end excluded."""

    start: int
    end: int
    anchor: str | None


class PlacedText(str):
    """A text of the tree that knows the ``line`` (from 1) on which it began, and as a value its ``span``."""

    __slots__ = ("line", "span")

    line: int
    span: Span | None
    """Counted without a byte order mark; ``None`` for keys. Aliases share that of what they name."""

    def __new__(cls, text: str, line: int, span: Span | None = None) -> PlacedText:
        self = super().__new__(cls, text)
        self.line, self.span = line, span
        return self


class YamlError(Exception):
    """The text cannot be read as YAML; ``line`` counts from 1."""

    def __init__(self, message: str, line: int | None):
        super().__init__(message)
        self.message = message
        self.line = line


class DuplicateKey(NamedTuple):
    """A key that its mapping already had: ``path`` leads from the root to the mapping."""

    path: tuple[str, ...]
    key: str
    line: int
    first_line: int


class _Value(NamedTuple):
    """A finished part of the tree with its expanded size and height, which each alias of it repeats."""

    content: Any
    size: int
    height: int


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come yet."""

    content: Tree | list[Any]
    line: int
    anchor: str | None
    key: PlacedText | None = None
    key_lines: dict[str, int] = field(default_factory=dict)
    merged: list[Tree] = field(default_factory=list)
    size: int = 1
    height: int = 1


def load(text: str) -> tuple[Any, list[DuplicateKey]]:
    """The tree of *text* and the keys that occur twice, of which the first one counts.

    :raises YamlError: it is not YAML, not one document, too deep or too large.
    """
    text = text.removeprefix("\ufeff")
    unreadable = _UNREADABLE.search(text)
    if unreadable:
        line = text.count("\n", 0, unreadable.start()) + 1
        raise YamlError(f"it holds a character that YAML does not allow (U+{ord(unreadable[0]):04X})", line)
    return _Builder().build(_events(text))


def _events(text: str) -> Iterator[yaml.Event]:
    try:
        yield from yaml.parse(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = " ".join(part for part in (error.context, error.problem) if part)
        raise YamlError(words or "it is not YAML", mark.line + 1 if mark else None) from None
    except yaml.YAMLError as error:
        raise YamlError(str(error).splitlines()[0], None) from None


class _Builder:
    def __init__(self) -> None:
        self.open: list[_Open] = []
        self.anchors: dict[str, _Value | None] = {}
        self.duplicates: list[DuplicateKey] = []
        self.root: Any = None
        self.documents = 0
        self.size = 0

    def build(self, events: Iterator[yaml.Event]) -> tuple[Any, list[DuplicateKey]]:
        for event in events:
            line = event.start_mark.line + 1 if event.start_mark else 0
            if isinstance(event, yaml.DocumentStartEvent):
                self.documents += 1
                if self.documents > 1:
                    raise YamlError("there is more than one document", line)
            elif isinstance(event, yaml.ScalarEvent):
                self._scalar(event, line)
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event.anchor or "", line)
            elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                self._start(event, line)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._end()
        return self.root, self.duplicates

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        if event.tag is not None and event.tag not in (*_TEXT_TAGS, *_SCALAR_TAGS):
            raise YamlError(f'the tag "{event.tag[:80]}" is not allowed', line)
        is_plain = event.tag in _SCALAR_TAGS if event.tag is not None else event.implicit[0]
        if self._awaits_key():
            content: Any = PlacedText(event.value, line)
        else:
            assert event.start_mark is not None
            assert event.end_mark is not None
            span = Span(event.start_mark.index, event.end_mark.index, event.anchor)
            placed = PlacedText(event.value, line, span)
            content = _resolve(placed) if is_plain else placed
        value = _Value(content, 1, 1)
        if event.anchor:
            self.anchors[event.anchor] = value
        self._count(1, line)
        self._add(value, line)

    def _alias(self, name: str, line: int) -> None:
        if name not in self.anchors:
            raise YamlError(f'the alias "*{name[:80]}" names no anchor above it', line)
        value = self.anchors[name]
        if value is None:
            raise YamlError(f'the alias "*{name[:80]}" stands inside its own anchor', line)
        self._count(value.size, line)
        self._add(value, line)

    def _start(self, event: yaml.CollectionStartEvent, line: int) -> None:
        if event.tag not in (None, "!", _COLLECTION_TAGS[type(event)]):
            raise YamlError(f'the tag "{event.tag[:80]}" is not allowed', line)
        if self._awaits_key():
            raise YamlError("a key must be a text", line)
        if len(self.open) >= MAX_DEPTH:
            raise YamlError(f"it is nested more than {MAX_DEPTH} levels deep", line)
        self._count(1, line)
        content: Tree | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
        if event.anchor:
            self.anchors[event.anchor] = None
        self.open.append(_Open(content, line, event.anchor))

    def _end(self) -> None:
        closed = self.open.pop()
        if isinstance(closed.content, dict):
            for merged in closed.merged:
                for key, content in merged.items():
                    closed.content.setdefault(key, content)
        value = _Value(closed.content, closed.size, closed.height)
        if closed.anchor:
            self.anchors[closed.anchor] = value
        self._add(value, closed.line)

    def _awaits_key(self) -> bool:
        return bool(self.open) and isinstance(self.open[-1].content, dict) and self.open[-1].key is None

    def _count(self, size: int, line: int) -> None:
        self.size += size
        if self.size > MAX_NODES:
            raise YamlError(f"it has more than {MAX_NODES} values (aliases counted as often as used)", line)

    def _add(self, value: _Value, line: int) -> None:
        if not self.open:
            self.root = value.content
            return
        parent = self.open[-1]
        if self._awaits_key():
            if not isinstance(value.content, str):
                raise YamlError("a key must be a text", line)
            parent.key = PlacedText(value.content, line)
            return
        parent.size += value.size
        parent.height = max(parent.height, value.height + 1)
        if len(self.open) + value.height > MAX_DEPTH:
            raise YamlError(f"it is nested more than {MAX_DEPTH} levels deep", line)
        if isinstance(parent.content, list):
            parent.content.append(value.content)
            return
        key, parent.key = parent.key, None
        assert key is not None
        if key == "<<":
            parent.merged += _mergeable(value.content, key.line)
        elif key in parent.content:
            self.duplicates.append(DuplicateKey(self._path(), str(key), key.line, parent.key_lines[key]))
        else:
            parent.content[key] = value.content
            parent.key_lines[key] = key.line

    def _path(self) -> tuple[str, ...]:
        return tuple(str(each.key) for each in self.open[:-1] if each.key is not None)


def _mergeable(content: Any, line: int) -> list[Tree]:
    mappings = content if isinstance(content, list) else [content]
    if not all(isinstance(mapping, dict) for mapping in mappings):
        raise YamlError('"<<" can merge only mappings', line)
    return mappings


def _resolve(text: PlacedText) -> Any:
    """What a plain scalar means in YAML 1.2's core schema."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    if _FLOAT.fullmatch(text) and not text.lstrip("+-").isdecimal():
        return float(text)
    return text
