"""From a configuration to a checked pipeline, or to refusals in Vector's words."""

import os
from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from .component import Component
from .components import COMPONENTS
from .configuration import Configuration
from .errors import ConfigurationError
from .fields import COMMON, Field, check_options, one_of
from .file_source import FileSource
from .listener import parse_address

_INPUTS = {"inputs": Field("strings", required=True)}


@dataclass
class Part:
    """One component, checked. inputs: ids of the components whose output it takes, wildcards resolved."""

    id: str
    kind: str
    component: type[Component]
    options: dict[str, Any]
    inputs: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f'{self.kind.capitalize()} "{self.id}"'


@dataclass
class Pipeline:
    """A configuration that can run. parts: sources, then transforms, then sinks."""

    parts: list[Part]
    data_dir: str
    api_address: str | None
    warnings: list[str]


def check(configuration: Configuration) -> Pipeline:
    """Check everything that can be checked without touching the environment.

    Raises ConfigurationError with every reason found.
    """
    parts: list[Part] = []
    refusals: list[str] = []
    warnings: list[str] = []
    for kind in COMPONENTS:
        for component_id, given in getattr(configuration, f"{kind}s").items():
            part, problems = _check_part(kind, component_id, given)
            refusals += problems
            if part is not None:
                parts.append(part)
    if refusals:
        raise ConfigurationError(refusals)

    refusals += _check_shape(parts)
    for part in parts:
        wrong, doubtful = part.component.problems(part.options)
        refusals += [f"{part.name}: {problem}" for problem in wrong]
        warnings += [f"{part.name}: {problem}" for problem in doubtful]
        refusals += _resolve_inputs(part, parts)
    refusals += _check_addresses(parts, configuration)
    if not refusals:
        # Below this line ids are unique and inputs exist.
        cycle = _cycle(parts)
        if cycle:
            refusals.append(f"Cyclic dependency detected in the chain [ {' -> '.join(cycle)} ]")
    if not refusals:
        refusals += _check_types(parts)
    if refusals:
        raise ConfigurationError(refusals)

    consumed = {source for part in parts for source in part.inputs}
    warnings += [
        f"{part.name} has no consumers" for part in parts if part.kind != "sink" and part.id not in consumed
    ]
    api_address = configuration.api_address if configuration.api_enabled else None
    return Pipeline(parts, configuration.data_dir, api_address, warnings)


def check_environment(pipeline: Pipeline) -> list[str]:
    """What this machine lacks to run it: one sentence each."""
    refusals = []
    for part in pipeline.parts:
        if part.component is FileSource:
            folder = part.options["data_dir"] or pipeline.data_dir
            if not os.path.isdir(folder):
                refusals.append(f'{part.name}: data_dir "{folder}" does not exist')
            elif not os.access(folder, os.W_OK | os.X_OK):
                refusals.append(f'{part.name}: data_dir "{folder}" is not writable')
    return refusals


def _check_part(kind: str, component_id: str, given: dict[Any, Any]) -> tuple[Part | None, list[str]]:
    where = f"{kind}s.{component_id}"
    known = COMPONENTS[kind]
    if given.get("type") is None:
        return None, [f"{where}: missing field `type`"]
    component = known.get(str(given["type"]))
    if component is None:
        return None, [
            f"{where}: unknown variant `{given['type']}`, expected {one_of(sorted(known))} "
            "(all that the stand-in for Vector has)"
        ]
    also_allowed = ("type", *COMMON[kind])
    fields = component.fields if kind == "source" else {**component.fields, **_INPUTS}
    options, problems = check_options(where, given, fields, also_allowed)
    return Part(component_id, kind, component, options), problems


def _check_shape(parts: list[Part]) -> list[str]:
    refusals = [
        f"No {kind}s defined in the config."
        for kind in ("source", "sink")
        if not any(part.kind == kind for part in parts)
    ]
    kinds: dict[str, list[str]] = {}
    for part in parts:
        kinds.setdefault(part.id, []).append(part.kind)
    for component_id, uses in kinds.items():
        if len(uses) > 1:
            refusals.append(f'More than one component with name "{component_id}" ({", ".join(uses)}).')
        if "." in component_id:
            refusals.append(f'Component name "{component_id}" should not contain a "."')
    return refusals


def _resolve_inputs(part: Part, parts: list[Part]) -> list[str]:
    if part.kind == "source":
        return []
    wanted: list[str] = part.options["inputs"]
    if not wanted:
        return [f"{part.name} has no inputs"]
    refusals = [
        f'{part.name} has input "{name}" duplicated {count} times'
        for name, count in Counter(wanted).items()
        if count > 1
    ]
    outputs = [other.id for other in parts if other.kind != "sink"]
    for name in wanted:
        if "*" in name:
            # A wildcard never means the component itself.
            matches = [output for output in outputs if fnmatchcase(output, name) and output != part.id]
        else:
            matches = [output for output in outputs if output == name]
        if not matches:
            refusals.append(f'Input "{name}" for {part.kind} "{part.id}" doesn\'t match any components.')
        part.inputs += [match for match in matches if match not in part.inputs]
    return refusals


def _check_addresses(parts: list[Part], configuration: Configuration) -> list[str]:
    refusals: list[str] = []
    users: dict[str, list[str]] = {}
    for part in parts:
        for address in part.component.addresses(part.options):
            users.setdefault(address, []).append(part.id)
    if configuration.api_enabled:
        try:
            parse_address(configuration.api_address)
        except ValueError as error:
            refusals.append(f"api.address: {error}")
        users.setdefault(configuration.api_address, []).append("api")
    for address, names in users.items():
        if len(names) > 1 and not address.endswith(":0"):
            refusals.append(f"Resource `tcp {address}` is claimed by multiple components: {sorted(names)}")
    return refusals


def _cycle(parts: list[Part]) -> list[str]:
    """The ids along a cycle, in the direction in which events would flow; empty if there is none."""
    inputs = {part.id: part.inputs for part in parts}
    done: set[str] = set()

    def visit(component_id: str, path: list[str]) -> list[str]:
        if component_id in path:
            return [component_id, *reversed(path[path.index(component_id) :])]
        if component_id in done:
            return []
        for source in inputs.get(component_id, []):
            found = visit(source, [*path, component_id])
            if found:
                return found
        done.add(component_id)
        return []

    for part in parts:
        found = visit(part.id, [])
        if found:
            return found
    return []


def _check_types(parts: list[Part]) -> list[str]:
    """Whether everybody can take what it is given; logs and metrics pass a filter as they are."""
    by_id = {part.id: part for part in parts}

    def given_by(part: Part) -> frozenset[str]:
        if part.kind == "source":
            return part.component.gives
        return frozenset().union(*(given_by(by_id[source]) for source in part.inputs)) & part.component.gives

    refusals = []
    for part in parts:
        for source in part.inputs:
            given = given_by(by_id[source])
            if not given <= part.component.takes:
                refusals.append(
                    f"Data type mismatch between {source} ({_types(given)}) and {part.id} "
                    f"({_types(part.component.takes)})"
                )
    return refusals


def _types(types: frozenset[str]) -> str:
    return "[" + ", ".join(sorted(types)) + "]"
