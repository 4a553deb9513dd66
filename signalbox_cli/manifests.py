"""Files that say which pipelines there should be: read with the place of every mistake, and written.

A file holds one pipeline, or several separated by ``---``::

    environment: production        # may be left out: then -e, SIGNALBOX_ENVIRONMENT or the profile says it
    name: web-logs
    selector: role=web             # every node, if left out
    logLevel: info                 # Vector's own, if left out
    configFile: vector/web.yaml    # relative to this file; or "config:" with the configuration itself
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from signalbox_cli.failures import UsageFailure
from signalbox_cli.names import similar
from signalbox_cli.output import to_yaml

LOG_LEVELS = ("trace", "debug", "info", "warn", "error", "off")
FIELDS = ("environment", "name", "selector", "logLevel", "config", "configFile")
VECTOR_FIELDS = ("sources", "transforms", "sinks", "enrichment_tables", "api", "data_dir")
SUFFIXES = (".yaml", ".yml")
MAX_NAME_CHARACTERS = 100
MAX_CONFIG_BYTES = 512 * 1024
MAX_FILE_BYTES = 1024 * 1024
_NULL = "tag:yaml.org,2002:null"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """What is wrong, and where; *line* is counted from 1."""

    file: str
    line: int | None
    field: str | None
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.field}: {self.message}" if self.field else f"{place}: {self.message}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """One pipeline as a file wants it."""

    file: str
    environment: str | None
    name: str
    selector: str
    log_level: str | None
    config_yaml: str
    config_file: str
    """Where the configuration stands: this file, or the one that it names."""
    config_line: int | None
    """In which line of that its first one stands; ``None`` where its lines cannot be told apart."""
    lines: Mapping[str, int]
    """In which line each field stands."""

    def problem(self, field: str, message: str) -> Problem:
        """One with a field of it."""
        return Problem(self.file, self.lines.get(field, self.lines["name"]), field, message)

    def config_problem(self, line: int | None, component: str | None, message: str) -> Problem:
        """One in line *line* of the configuration."""
        field = "config" if component is None else f"component {component}"
        if line is None or self.config_line is None:
            where = self.lines.get("config", 1) if self.config_file == self.file else None
            return Problem(self.config_file, where, field, message)
        return Problem(self.config_file, self.config_line + line - 1, field, message)


def read(root: Path) -> tuple[list[Manifest], list[Problem]]:
    """The pipelines of every file below a folder (or of one file), in the order of their paths, and what is wrong.

    Files that another one names as its ``configFile`` are not looked at as if they were such files themselves.

    :raises UsageFailure: there is no such folder, or nothing in it.
    """
    files = [root] if root.is_file() else _files(root)
    if not files:
        raise UsageFailure(f"{root} holds no file that ends with .yaml or .yml.")
    base = root.parent if root.is_file() else root
    documents = [(file, *_documents(file)) for file in files]
    references = {
        (file.parent / each.value).resolve()
        for file, nodes, _ in documents
        for node in nodes
        if isinstance(node, yaml.MappingNode)
        for key, each in node.value
        if isinstance(key, yaml.ScalarNode)
        and key.value == "configFile"
        and isinstance(each, yaml.ScalarNode)
    }
    manifests: list[Manifest] = []
    problems: list[Problem] = []
    for file, nodes, broken in documents:
        if file.resolve() in references:
            continue
        problems += broken
        for node in nodes:
            reader = _Reader(file, base, node)
            manifest = reader.manifest()
            problems += reader.problems
            if manifest is not None and not reader.problems:
                manifests.append(manifest)
    problems += _twice(manifests)
    return manifests, sorted(problems, key=lambda each: (each.file, each.line or 0))


def written(environment: str | None, name: str, content: Mapping[str, Any]) -> str:
    """A pipeline (or a version of one) as a file; reading that again makes the same."""
    fields: dict[str, Any] = {"environment": environment} if environment is not None else {}
    fields |= {"name": name, "selector": content["nodeSelector"], "logLevel": content["logLevel"]}
    head = to_yaml({key: value for key, value in fields.items() if value not in (None, "")})
    return head + _config_field(content["configYaml"])


def components(config_yaml: str) -> list[str]:
    """The names of a configuration's components, sources first; none where it cannot be read."""
    try:
        content = yaml.safe_load(config_yaml)
    except yaml.YAMLError:
        return []
    found: list[str] = []
    for kind in ("sources", "transforms", "sinks"):
        part = content.get(kind) if isinstance(content, dict) else None
        found += [str(name) for name in part] if isinstance(part, dict) else []
    return found


def _config_field(text: str) -> str:
    """``config:`` as a block that reads as it is written, where YAML has one for this text."""
    # A block cannot say how many empty lines are at its end, nor how deep a first line is indented, simply.
    is_plain = text.endswith("\n") and not text.endswith("\n\n") and text[:1] not in (" ", "\t", "\n")
    if is_plain and all(line.isprintable() or "\t" in line for line in text.split("\n")) and "\r" not in text:
        lines = "".join(f"  {line}\n" if line else "\n" for line in text.removesuffix("\n").split("\n"))
        block = f"config: |\n{lines}"
        if yaml.safe_load(block) == {"config": text}:
            return block
    return yaml.safe_dump({"config": text}, allow_unicode=True, default_style='"', width=10**6)


def _files(root: Path) -> list[Path]:
    if not root.is_dir():
        raise UsageFailure(f"There is no folder {root}.")
    return sorted(
        file
        for file in root.rglob("*")
        if file.suffix in SUFFIXES
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(root).parts)
    )


def _documents(file: Path) -> tuple[list[yaml.Node], list[Problem]]:
    text, problem = _text(file, MAX_FILE_BYTES)
    if text is None:
        return [], [Problem(str(file), None, None, problem)]
    try:
        nodes = [node for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if not _is_empty(node)]
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or str(error).partition("\n")[0] or "it is nested too deeply"
        return [], [
            Problem(str(file), None if mark is None else mark.line + 1, None, f"it is no YAML: {what}")
        ]
    return nodes, []


def _is_empty(node: yaml.Node | None) -> bool:
    return node is None or (isinstance(node, yaml.ScalarNode) and node.tag == _NULL)


def _text(file: Path, most: int) -> tuple[str | None, str]:
    """What stands in a file, or why it cannot be used."""
    try:
        data = file.read_bytes()
    except OSError as error:
        return None, f"it cannot be read: {error.strerror}"
    if len(data) > most:
        return None, f"it has more than {most // 1024} KiB"
    try:
        return data.decode("utf-8-sig"), ""
    except UnicodeDecodeError:
        return None, "it is not UTF-8"


def _twice(manifests: Iterable[Manifest]) -> Iterator[Problem]:
    first: dict[tuple[str | None, str], Manifest] = {}
    for each in manifests:
        other = first.setdefault((each.environment, each.name), each)
        if other is not each:
            yield each.problem("name", f'"{each.name}" stands in {other.file}:{other.lines["name"]} already')


class _Reader:
    """Reads one document, and collects what is wrong with it."""

    def __init__(self, file: Path, base: Path, node: yaml.Node) -> None:
        self._file = file
        self._base = base
        self._node = node
        self._values: dict[str, yaml.Node] = {}
        self._lines: dict[str, int] = {"name": node.start_mark.line + 1}
        self.problems: list[Problem] = []

    def manifest(self) -> Manifest | None:
        """What it wants; to be used only where there are no problems."""
        if not isinstance(self._node, yaml.MappingNode):
            self._wrong(None, "it is no mapping with the fields of a pipeline")
            return None
        self._take(self._node)
        name = (self._scalar("name") or "").strip()
        if "name" not in self._values:
            self._wrong("name", "it is missing")
        elif not name or len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
            self._wrong("name", f"it is one line of 1 to {MAX_NAME_CHARACTERS} characters")
        log_level = self._scalar("logLevel")
        if log_level is not None and log_level.lower() not in LOG_LEVELS:
            self._wrong("logLevel", f"it is one of {', '.join(LOG_LEVELS)}.{similar(log_level, LOG_LEVELS)}")
        config, config_file, config_line = self._config()
        if len(config.encode("utf-8", "surrogatepass")) > MAX_CONFIG_BYTES:
            self._wrong("config", f"it has more than {MAX_CONFIG_BYTES // 1024} KiB")
        return Manifest(
            str(self._file),
            self._scalar("environment"),
            name,
            self._scalar("selector") or "",
            log_level.lower() if log_level is not None else None,
            config,
            config_file,
            config_line,
            self._lines,
        )

    def _take(self, node: yaml.MappingNode) -> None:
        for key, value in node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
            line = key.start_mark.line + 1
            if name in self._values:
                self._wrong(name, f"it stands in line {self._lines[name]} already", line)
            elif name in FIELDS:
                self._values[name] = value
                self._lines[name] = line
            elif name in VECTOR_FIELDS and "name" not in self._values:
                message = (
                    "this looks like a configuration of Vector that no other file names as its configFile"
                )
                self._wrong(name, message, line)
                return
            else:
                known = f"it is none of {', '.join(FIELDS)}.{similar(name, FIELDS)}"
                self._wrong(name, known, line)

    def _scalar(self, field: str) -> str | None:
        """A field's text as it is written: ``off`` is a log level, though YAML has it for false."""
        node = self._values.get(field)
        if node is None or _is_empty(node):
            return None
        if not isinstance(node, yaml.ScalarNode):
            self._wrong(field, "it is a text, not a list or a mapping")
            return None
        return str(node.value)

    def _config(self) -> tuple[str, str, int | None]:
        """The configuration, the file in which it stands, and the line there."""
        node, named = self._values.get("config"), self._values.get("configFile")
        if (node is None) == (named is None):
            self._wrong("config", "give either config or configFile")
        elif named is not None:
            return self._from_file()
        elif isinstance(node, yaml.MappingNode):
            return self._from_mapping(node)
        elif isinstance(node, yaml.ScalarNode) and not _is_empty(node):
            line = node.start_mark.line + 2 if node.style == "|" else None
            return str(node.value), str(self._file), line
        else:
            self._wrong("config", "it is Vector's configuration, as a mapping or a text")
        return "", str(self._file), None

    def _from_file(self) -> tuple[str, str, int | None]:
        name = self._scalar("configFile") or ""
        file = self._file.parent / name
        if not name or not file.resolve().is_relative_to(self._base.resolve()):
            # A folder that somebody else wrote must not send any file of this machine to the server.
            self._wrong("configFile", "it names no file below the folder that is applied")
            return "", str(self._file), None
        text, problem = _text(file, MAX_CONFIG_BYTES)
        if text is None:
            self._wrong("configFile", f"{name}: {problem}")
        return text or "", str(file), 1

    def _from_mapping(self, node: yaml.MappingNode) -> tuple[str, str, int | None]:
        """As it stands in the file, comments included, without what it is indented by."""
        text = _text(self._file, MAX_FILE_BYTES)[0] or ""
        start, end = node.start_mark, node.end_mark
        if node.flow_style:
            return text[start.index : end.index].rstrip() + "\n", str(self._file), start.line + 1
        first = self._lines["config"]  # counted from 1: the line behind that of the field
        lines = [
            line[min(start.column, len(line) - len(line.lstrip(" "))) :].rstrip("\r")
            for line in text[: end.index].split("\n")[first:]
        ]
        return "\n".join(lines).rstrip() + "\n", str(self._file), first + 1

    def _wrong(self, field: str | None, message: str, line: int | None = None) -> None:
        where = line or (self._lines.get(field) if field else None) or self._lines["name"]
        self.problems.append(Problem(str(self._file), where, field, message))
