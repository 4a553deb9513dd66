"""A ``vector.yaml`` from elsewhere made into a draft: what the agent decides by itself is taken out, and said."""

from __future__ import annotations

from dataclasses import dataclass

from app import pipeline_yaml, yaml_tree
from app.errors import InvalidInputError
from app.yaml_tree import YamlError

DROPPED = {
    "data_dir": "each node's agent keeps one for every pipeline",
    "api": "each node's agent opens it by itself, on an address of its own",
}
"""Global options that must not come along, and why."""
REFUSED = {
    "provider": "the configuration would come from elsewhere than from here",
}


@dataclass(frozen=True, slots=True)
class Imported:
    """The text without what was dropped, and a sentence for each option that was."""

    config_yaml: str
    notes: list[str]


def read(content: bytes) -> Imported:
    """Make a draft of a file's *content*; mistakes that a draft may have stay in it.

    :raises InvalidInputError: it is too large, no text, no YAML mapping, or sets what cannot be kept.
    """
    if len(content) > pipeline_yaml.MAX_BYTES:
        raise _refusal(f"it is larger than {pipeline_yaml.MAX_BYTES // 1024} KiB")
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise _refusal("it is no UTF-8 text") from None
    try:
        tree, _ = yaml_tree.load(text)
    except YamlError as error:
        where = f" (line {error.line})" if error.line else ""
        raise _refusal(f"it is no YAML{where}: {error.message}. TOML and JSON are not read here") from None
    if not isinstance(tree, dict) or not tree:
        raise _refusal("it must be a mapping with sources and sinks")
    for key, why in REFUSED.items():
        if key in tree:
            raise _refusal(f'it sets "{key}": {why}')
    return _without_dropped(text, tree)


def _without_dropped(text: str, tree: yaml_tree.Tree) -> Imported:
    lines = text.split("\n")
    starts = sorted(key.line for key in tree)
    keep = [True] * len(lines)
    notes = []
    for key in tree:
        if key not in DROPPED:
            continue
        first = lines[key.line - 1]
        if not first.lstrip("\"'").startswith(key):
            raise _refusal(f'it sets "{key}" in the middle of line {key.line}; take that out by hand')
        end = next((line for line in starts if line > key.line), len(lines) + 1)
        last = end - 1
        # What stands above the next option, comments and empty lines, is about that one.
        while last > key.line and (not lines[last - 1].strip() or lines[last - 1].startswith("#")):
            last -= 1
        for index in range(key.line - 1, last):
            keep[index] = False
        notes.append(f"{key} (line {key.line}) was left out: {DROPPED[key]}.")
    kept = "\n".join(line for line, is_kept in zip(lines, keep, strict=True) if is_kept)
    return Imported(kept.lstrip("\n"), notes)


def _refusal(why: str) -> InvalidInputError:
    return InvalidInputError(f"The file cannot be imported: {why}.", [{"field": "file", "message": why}])
