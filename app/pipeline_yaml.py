"""What a pipeline's YAML says: its components and how they connect, and what no Vector would accept.

Only what is surely wrong is a problem; what depends on Vector's version is left for Vector to judge.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from app import yaml_tree
from app.errors import Detail
from app.references import Reference
from app.yaml_tree import PlacedText, YamlError

MAX_BYTES = 512 * 1024
MAX_COMPONENTS = 2000
MAX_INPUTS = 20_000
MAX_WILDCARDS = 500
MAX_PROBLEMS = 50
MAX_ID_CHARACTERS = 128

TABLES = {"sources": "source", "transforms": "transform", "sinks": "sink"}
"""Vector's tables of components, and what a component of each is."""

_REFERENCE = re.compile(r"(SECRET|CERT)\[([A-Za-z0-9][A-Za-z0-9_-]*)\]")
_LIKE_A_REFERENCE = re.compile(r"(?:SECRET|CERT)\[")
_ID = re.compile(r"[^\s.*?\[\]\x00-\x1f\x7f]+(?: +[^\s.*?\[\]\x00-\x1f\x7f]+)*")
WILDCARD = re.compile(r"[*?\[]")
_VECTOR_TABLES = ("enrichment_tables", "secret", "schema", "tests", "api", "proxy", "graph", "telemetry")


@dataclass(frozen=True, slots=True)
class Component:
    """One source, transform or sink."""

    kind: str
    """``source``, ``transform`` or ``sink``."""
    type: str
    """Such as ``file``; empty where it is missing, which is a problem."""
    inputs: tuple[str, ...]
    """As written, wildcards and named outputs (``transform.port``) included."""
    line: int
    """Where its name stands, from 1."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why no Vector would run this, and where."""

    message: str
    component: str | None = None
    line: int | None = None
    field: str = "configYaml"

    def to_detail(self) -> Detail:
        """One entry of ``details`` in an answer."""
        detail: Detail = {"field": self.field, "message": self.message}
        if self.component is not None:
            detail["component"] = self.component
        if self.line is not None:
            detail["line"] = self.line
        return detail


@dataclass(frozen=True, slots=True)
class ParsedPipeline:
    """A pipeline's YAML, understood as far as it can be."""

    components: dict[str, Component]
    tree: yaml_tree.Tree
    """Empty where the text is no mapping; its texts know their line, see ``app/yaml_tree.py``."""
    problems: list[Problem]


def parse(config_yaml: str) -> ParsedPipeline:
    """Read *config_yaml*. Never raises for what people write: that is in ``problems``, at most fifty."""
    if len(config_yaml.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        return _unreadable(f"the configuration is larger than {MAX_BYTES // 1024} KiB")
    try:
        tree, duplicates = yaml_tree.load(config_yaml)
    except YamlError as error:
        return _unreadable(f"the YAML cannot be read: {error.message}", error.line)
    if tree is None:
        return _unreadable("the configuration is empty")
    if not isinstance(tree, dict):
        return _unreadable("the configuration must be a mapping with sources and sinks", 1)
    problems = [
        Problem(
            f'the key "{_short(each.key)}" occurs twice, first on line {each.first_line}',
            _component_at((*each.path, each.key)),
            each.line,
        )
        for each in duplicates
    ]
    reading = _Reading(tree, problems)
    try:
        reading.read()
    except _EnoughProblemsError:
        del problems[MAX_PROBLEMS:]
    return ParsedPipeline(reading.components, tree, problems)


def references(tree: yaml_tree.Tree) -> list[Reference]:
    """Every well-formed reference in *tree* (of ``ParsedPipeline``), in the order of the text."""
    found = []
    for path, text, _ in _texts(tree):
        match = _REFERENCE.fullmatch(text)
        if match and text.span is not None:
            kind = "secret" if match[1] == "SECRET" else "certificate"
            found.append(Reference(kind, match[2], _component_at(path), text.line, *text.span))
    return found


def missing_references(
    references: Iterable[Reference], secret_names: Collection[str], certificate_names: Collection[str]
) -> list[Problem]:
    """A problem for each reference to what the environment does not have."""
    known = {"secret": secret_names, "certificate": certificate_names}
    return [
        Problem(
            f'{reference.kind} "{reference.name}" does not exist in this environment',
            reference.component,
            reference.line,
        )
        for reference in references
        if reference.name not in known[reference.kind]
    ][:MAX_PROBLEMS]


def _unreadable(message: str, line: int | None = None) -> ParsedPipeline:
    return ParsedPipeline({}, {}, [Problem(message, None, line)])


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"


def _component_at(path: tuple[str, ...]) -> str | None:
    return path[1] if len(path) > 1 and path[0] in TABLES else None


def _texts(tree: yaml_tree.Tree) -> Iterator[tuple[tuple[str, ...], PlacedText, bool]]:
    """Each text of *tree* with the first two keys of the path to it, and whether it is itself a key."""
    stack: list[tuple[tuple[str, ...], Any]] = [((), tree)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, PlacedText):
            yield path, value, False
        elif isinstance(value, dict):
            for key in value:
                yield (*path, key), key, True
            stack.extend(((*path, key)[:2], value[key]) for key in reversed(value))
        elif isinstance(value, list):
            stack.extend((path, item) for item in reversed(value))


class _EnoughProblemsError(Exception):
    """There are ``MAX_PROBLEMS`` problems; to look for more would only cost time."""


@dataclass(slots=True)
class _Reading:
    """One look through a tree; what is wrong goes to ``problems``."""

    tree: yaml_tree.Tree
    problems: list[Problem]
    components: dict[str, Component] = field(default_factory=dict)
    input_lines: dict[tuple[str, str], int] = field(default_factory=dict)
    """(component, input) -> line."""

    def read(self) -> None:
        """Fill ``components`` and ``problems``.

        :raises _EnoughProblemsError: there are as many problems as anybody wants to read.
        """
        self._check_top_level()
        for table, kind in TABLES.items():
            self._read_table(table, kind)
        self._check_references()
        if len(self.components) > MAX_COMPONENTS:
            self._refuse(f"there are more than {MAX_COMPONENTS} components")
            return
        if sum(len(component.inputs) for component in self.components.values()) > MAX_INPUTS:
            self._refuse(f"there are more than {MAX_INPUTS} inputs")
            return
        self._check_presence()
        self._check_cycles(self._connect())

    def _refuse(self, message: str, component: str | None = None, line: int | None = None) -> None:
        self.problems.append(Problem(message, component, line))
        if len(self.problems) >= MAX_PROBLEMS:
            raise _EnoughProblemsError

    def _check_top_level(self) -> None:
        for key in self.tree:
            if key not in TABLES and key not in _VECTOR_TABLES:
                meant = difflib.get_close_matches(key[:20].lower(), TABLES, 1, 0.8)
                if meant:
                    self._refuse(
                        f'there is no table "{_short(key)}"; it is called "{meant[0]}"', None, key.line
                    )

    def _read_table(self, table: str, kind: str) -> None:
        content = self.tree.get(table)
        if content is None:
            return
        if not isinstance(content, dict):
            line = next(key.line for key in self.tree if key == table)
            self._refuse(f'"{table}" must be a mapping from names to components', None, line)
            return
        for name, body in content.items():
            known = self.components.get(name)
            if known is not None:
                self._refuse(
                    f'there is already a {known.kind} called "{_short(name)}", on line {known.line}',
                    name,
                    name.line,
                )
                continue
            if len(name) > MAX_ID_CHARACTERS or not _ID.fullmatch(name):
                self._refuse(
                    f'"{_short(name)}" cannot be the name of a component: it has 1 to {MAX_ID_CHARACTERS}'
                    ' characters and none of ".", "*", "?", "[" and "]"',
                    _short(name),
                    name.line,
                )
            if not isinstance(body, dict):
                self._refuse(f'the {kind} "{_short(name)}" must be a mapping', name, name.line)
                body = {"type": "unknown"}
            self.components[str(name)] = Component(
                kind, self._type(name, kind, body), self._inputs(name, kind, body), name.line
            )

    def _type(self, name: PlacedText, kind: str, body: yaml_tree.Tree) -> str:
        value = body.get("type")
        if isinstance(value, str) and value:
            return str(value)
        words = "has no type" if value in (None, "") else "has a type that is no text"
        self._refuse(f'the {kind} "{_short(name)}" {words}', name, name.line)
        return ""

    def _inputs(self, name: PlacedText, kind: str, body: yaml_tree.Tree) -> tuple[str, ...]:
        """The inputs as written; a source's are none of our business."""
        if kind == "source":
            return ()
        value = body.get("inputs")
        if value is None or value == []:
            self._refuse(f'the {kind} "{_short(name)}" has no inputs', name, name.line)
            return ()
        if not isinstance(value, list) or not all(isinstance(item, PlacedText) for item in value):
            self._refuse(f'the inputs of "{_short(name)}" must be a list of names', name, name.line)
            return ()
        for item in value:
            self.input_lines.setdefault((name, item), item.line)
        return tuple(dict.fromkeys(str(item) for item in value))

    def _check_presence(self) -> None:
        kinds = {component.kind for component in self.components.values()}
        if "source" not in kinds:
            self._refuse("there are no sources")
        if "sink" not in kinds:
            self._refuse("there are no sinks")

    def _check_references(self) -> None:
        for path, text, is_key in _texts(self.tree):
            if not _LIKE_A_REFERENCE.search(text):
                continue
            if is_key:
                words = "a key cannot hold a reference (SECRET[…] or CERT[…])"
            elif _REFERENCE.fullmatch(text):
                continue
            elif _LIKE_A_REFERENCE.match(text) and text.find("]") in (-1, len(text) - 1):
                words = f'"{_short(text)}" is not a reference: a name has letters, digits, "_" and "-"'
            else:
                words = "a reference (SECRET[…] or CERT[…]) must be the whole value, not a part of it"
            self._refuse(words, _component_at(path), text.line)

    def _connect(self) -> dict[str, list[str]]:
        """For each component those that it reads from; an input that names nothing is a problem."""
        outputs = [name for name, component in self.components.items() if component.kind != "sink"]
        others = self._table_outputs()
        wildcards = {text for _, text in self.input_lines if WILDCARD.search(text)}
        if len(wildcards) > MAX_WILDCARDS:
            self._refuse(f"there are more than {MAX_WILDCARDS} different wildcards in inputs")
            return {}
        expanded = {text: expand(text, outputs) for text in wildcards}
        is_relaxed = self.tree.get("wildcard_matching") == "relaxed"
        known = set(outputs)
        edges: dict[str, list[str]] = {}
        for name, component in self.components.items():
            reads = edges[name] = []
            for text in component.inputs:
                owner = text.partition(".")[0]
                if text in expanded:
                    found = [output for output in expanded[text] if output != name]
                    reads += found
                    is_missing = not found and not is_relaxed and not expand(text, others)
                elif owner in known:
                    reads.append(owner)
                    continue
                else:
                    is_missing = text not in others
                if is_missing:
                    self._refuse(self._words_for_missing(text, outputs), name, self.input_lines[name, text])
        return edges

    def _table_outputs(self) -> list[str]:
        """What a memory table offers as a source: the name in its ``source_config``."""
        tables = self.tree.get("enrichment_tables")
        configurations = (
            [table.get("source_config") for table in tables.values() if isinstance(table, dict)]
            if isinstance(tables, dict)
            else []
        )
        keys = [each.get("source_key") for each in configurations if isinstance(each, dict)]
        return [str(key) for key in keys if isinstance(key, str)]

    def _words_for_missing(self, text: str, outputs: list[str]) -> str:
        if WILDCARD.search(text):
            return f'the input "{_short(text)}" matches no source or transform'
        if text in self.components:
            return f'the input "{_short(text)}" is a sink, and sinks have no output'
        near = difflib.get_close_matches(text[:MAX_ID_CHARACTERS], outputs[:200], 1)
        hint = f'; did you mean "{near[0]}"?' if near else ""
        return f'the input "{_short(text)}" is no source or transform{hint}'

    def _check_cycles(self, edges: dict[str, list[str]]) -> None:
        """Each component is entered once; meeting one that is still open closes a cycle."""
        finished: set[str] = set()
        for start in edges:
            trail: dict[str, Iterator[str]] = {} if start in finished else {start: iter(edges[start])}
            while trail:
                name = next(reversed(trail))
                following = next(trail[name], None)
                if following is None:
                    del trail[name]
                    finished.add(name)
                elif following in trail:
                    names = list(trail)
                    # The trail runs against the flow of events; people read it with the flow.
                    cycle = [*names[names.index(following) :], following][::-1]
                    words = " → ".join(f'"{_short(each)}"' for each in cycle[:10])
                    self._refuse(
                        f"the components form a cycle: {words}{' …' if len(cycle) > 10 else ''}",
                        name,
                        self.components[name].line,
                    )
                elif following not in finished:
                    trail[following] = iter(edges[following])


def expand(pattern: str, outputs: list[str]) -> list[str]:
    """The components whose output *pattern* matches; one with a port matches by what stands before it."""
    if len(pattern) > 2 * MAX_ID_CHARACTERS:
        return []
    whole = re.compile(fnmatch.translate(pattern))
    owner = re.compile(fnmatch.translate(pattern.partition(".")[0])) if "." in pattern else whole
    return [output for output in outputs if whole.match(output) or owner.match(output)]
