"""Configuration files become one mapping: environment interpolated, YAML, JSON or TOML read, files merged."""

import glob
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from .errors import ConfigurationError
from .fields import describe

DEFAULT_PATH = "/etc/vector/vector.yaml"
DEFAULT_DATA_DIR = "/var/lib/vector/"
DEFAULT_API_ADDRESS = "127.0.0.1:8686"

SECTIONS = ("sources", "transforms", "sinks")
# Global options of Vector's that a stand-in can ignore without doing something else than was asked.
IGNORED = (
    "acknowledgements",
    "expire_metrics_secs",
    "healthchecks",
    "log_schema",
    "proxy",
    "schema",
    "timezone",
)

_REFERENCE = re.compile(
    r"\$\$|\$(?P<bare>[\w.]+)|\$\{(?P<name>[\w.]+)(?:(?P<operator>:?-|:?\?)(?P<operand>[^}]*))?\}"
)


@dataclass
class Configuration:
    """The merged content of all files, unchecked beyond its outer shape."""

    sources: dict[str, Any] = field(default_factory=dict)
    transforms: dict[str, Any] = field(default_factory=dict)
    sinks: dict[str, Any] = field(default_factory=dict)
    data_dir: str = DEFAULT_DATA_DIR
    api_enabled: bool = False
    api_address: str = DEFAULT_API_ADDRESS


def interpolate(text: str, environment: Mapping[str, str]) -> str:
    """Replace references to environment variables, in comments too, as Vector does.

    `$NAME` and `${NAME}`; `${NAME:-default}` and `${NAME-default}` where it is unset (with the colon: or
    empty); `${NAME:?message}` and `${NAME?message}` refuse instead; `$$` is one dollar.
    """
    refusals: list[str] = []

    def replace(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        name = found["bare"] or found["name"]
        operator, operand = found["operator"] or "", found["operand"] or ""
        value = environment.get(name)
        if value or (value is not None and not operator.startswith(":")):
            return value
        if operator.endswith("-"):
            return operand
        required, why = (" required", f' error = "{operand}"') if operator.endswith("?") else ("", "")
        refusals.append(f'Missing environment variable{required} in config. name = "{name}"{why}')
        return ""

    replaced = _REFERENCE.sub(replace, text)
    if refusals:
        raise ConfigurationError(refusals)
    return replaced


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key that stands twice in one mapping; PyYAML lets the last one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f'duplicate entry with key "{key}"', key_node.start_mark
                )
            if isinstance(key, str):
                seen.add(key)
        return super().construct_mapping(node, deep=deep)


def load(paths: list[str], environment: Mapping[str, str] = os.environ) -> tuple[list[str], Configuration]:
    """Read and merge the files; wildcards in paths are expanded.

    Returns the files read and the configuration. Raises ConfigurationError with every reason found.
    """
    files = _expand(paths)
    merged = Configuration()
    stated: dict[str, Any] = {}
    refusals: list[str] = []
    for file in files:
        try:
            _merge(merged, stated, _read(file, environment), refusals)
        except ConfigurationError as error:
            refusals += error.reasons
    if refusals:
        raise ConfigurationError(refusals)
    return files, merged


def _expand(paths: list[str]) -> list[str]:
    files: list[str] = []
    for path in paths:
        matches = sorted(glob.glob(path)) if glob.has_magic(path) else [path]
        if not matches:
            raise ConfigurationError([f'Config file not found in path. path="{path}"'])
        files += [match for match in matches if match not in files]
    return files


def _read(file: str, environment: Mapping[str, str]) -> dict[str, Any]:
    try:
        text = Path(file).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigurationError([f'Config file not found in path. path="{file}"']) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError([f'Config file could not be read. path="{file}" error="{error}"']) from error
    text = interpolate(text, environment)
    try:
        # JSON is read as the YAML that it is.
        content = tomllib.loads(text) if file.endswith(".toml") else yaml.load(text, _StrictLoader)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([f"{file}: {error}"]) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" at line {mark.line + 1} column {mark.column + 1}" if mark else ""
        raise ConfigurationError([f"{file}: {error.problem or error.context}{where}"]) from error
    except RecursionError as error:
        raise ConfigurationError([f"{file}: nested too deeply"]) from error
    except (yaml.YAMLError, ValueError) as error:
        # ValueError: PyYAML's for a date that is none.
        raise ConfigurationError([f"{file}: {' '.join(str(error).split())}"]) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigurationError([f"{file}: invalid type: {describe(content)}, expected a map"])
    return content


def _merge(
    merged: Configuration, stated: dict[str, Any], content: dict[str, Any], refusals: list[str]
) -> None:
    for name, value in content.items():
        if name in SECTIONS:
            _merge_section(getattr(merged, name), name, value, refusals)
        elif name == "data_dir":
            if not isinstance(value, str):
                refusals.append(f"data_dir: invalid type: {describe(value)}, expected a string")
            elif stated.setdefault("data_dir", value) != value:
                refusals.append("conflicting values for 'data_dir' found")
            else:
                merged.data_dir = value
        elif name == "api":
            _merge_api(merged, stated, value, refusals)
        elif name not in IGNORED:
            known = ", ".join(f"`{known}`" for known in ("api", "data_dir", *SECTIONS, *IGNORED))
            refusals.append(f"unknown field `{name}`, expected one of {known}")


def _merge_section(section: dict[str, Any], name: str, value: Any, refusals: list[str]) -> None:
    if value is None:
        return
    if not isinstance(value, dict):
        refusals.append(f"{name}: invalid type: {describe(value)}, expected a map")
        return
    for component_id, options in value.items():
        if str(component_id) in section:
            refusals.append(f"duplicate {name.removesuffix('s')} id found: {component_id}")
        elif not isinstance(options, dict):
            refusals.append(f"{name}.{component_id}: invalid type: {describe(options)}, expected a map")
        else:
            section[str(component_id)] = options


def _merge_api(merged: Configuration, stated: dict[str, Any], value: Any, refusals: list[str]) -> None:
    if not isinstance(value, dict):
        refusals.append(f"api: invalid type: {describe(value)}, expected a map")
        return
    for name in value:
        if name not in ("enabled", "address", "playground", "graphql"):
            refusals.append(f"api: unknown field `{name}`, expected `enabled` or `address`")
    if value.get("enabled") is not None:
        if not isinstance(value["enabled"], bool):
            refusals.append(f"api.enabled: invalid type: {describe(value['enabled'])}, expected a boolean")
        merged.api_enabled = merged.api_enabled or value["enabled"] is True
    if value.get("address") is not None:
        address = str(value["address"])
        if stated.setdefault("api", address) != address:
            refusals.append(f"conflicting `api` address: {stated['api']}, {address} .")
        merged.api_address = address
