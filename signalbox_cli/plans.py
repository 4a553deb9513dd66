"""What has to be done so that the server has what files want: worked out before anything is changed."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from signalbox_cli.client import Row, Seen
from signalbox_cli.manifests import Manifest


class Action(StrEnum):
    """What becomes of one pipeline."""

    CREATE = "create"
    CHANGE = "change"
    DEPLOY = "deploy"
    UNCHANGED = "unchanged"
    PRUNE = "prune"


@dataclass(frozen=True, slots=True)
class Content:
    """What reaches nodes."""

    config_yaml: str
    selector: str
    log_level: str | None

    @classmethod
    def of_manifest(cls, manifest: Manifest) -> Content:
        """As a file wants it."""
        return cls(manifest.config_yaml, manifest.selector, manifest.log_level)

    @classmethod
    def of_row(cls, row: Row) -> Content:
        """A draft or a version."""
        return cls(row["configYaml"], row["nodeSelector"], row["logLevel"])

    def lines(self) -> list[str]:
        """All of it as text, for comparing."""
        return [
            f"selector: {self.selector or '(every node)'}",
            f"logLevel: {self.log_level or '(Vector’s own)'}",
            *self.config_yaml.splitlines(),
        ]


@dataclass(frozen=True, slots=True)
class Step:
    """One pipeline, what is there of it, and what is done."""

    action: Action
    environment: Row
    name: str
    reason: str
    manifest: Manifest | None = None
    draft: Row | None = None
    deployed: Row | None = None
    saves: bool = False
    """Whether the draft is written."""
    deploys: bool = False
    seen: Seen | None = None
    """The draft with its tag, where something is done to it."""

    @property
    def title(self) -> str:
        """The environment and the pipeline."""
        return f"{self.environment['name']}/{self.name}"

    def difference(self) -> list[str]:
        """A unified difference between what nodes run (else the draft) and what they would, if there is one."""
        before = self.deployed if self.deploys and self.deployed is not None else self.draft
        if self.manifest is None or before is None or not (self.saves or self.deploys):
            return []
        title = f"version {before['version']}" if before is self.deployed else "draft"
        old, new = Content.of_row(before), Content.of_manifest(self.manifest)
        names = (f"{self.title} ({title})", self.manifest.config_file)
        found = list(difflib.unified_diff(old.lines(), new.lines(), *names, lineterm=""))
        if not found and old != new:
            return ["(only the ends of lines differ)"]
        return found

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "action": str(self.action),
            "environment": self.environment["name"],
            "environmentId": self.environment["id"],
            "name": self.name,
            "pipelineId": self.draft["id"] if self.draft is not None else None,
            "file": self.manifest.file if self.manifest is not None else None,
            "reason": self.reason,
            "difference": self.difference(),
        }


def step(
    manifest: Manifest, environment: Row, draft: Row | None, deployed: Row | None, seen: Seen | None = None
) -> Step:
    """What has to be done for one file; *deployed* is the version that nodes must run, *seen* the draft's tag."""
    if draft is None:
        return Step(
            Action.CREATE, environment, manifest.name, "it does not exist", manifest, saves=True, deploys=True
        )
    wanted = Content.of_manifest(manifest)
    saves = Content.of_row(draft) != wanted
    deploys = deployed is None or Content.of_row(deployed) != wanted
    if saves:
        action = Action.CHANGE
        reason = "the file is another" if deploys else "the draft is another; nodes have what the file says"
    elif deploys:
        action = Action.DEPLOY
        reason = (
            "it is not deployed"
            if deployed is None
            else f"nodes have version {deployed['version']}, which is another"
        )
    else:
        action, reason = Action.UNCHANGED, f"version {deployed['version']}" if deployed else ""
    return Step(action, environment, manifest.name, reason, manifest, draft, deployed, saves, deploys, seen)


def prunes(
    environments: Sequence[Row], drafts: Mapping[str, Sequence[Row]], kept: set[tuple[str, str]]
) -> Iterator[Step]:
    """One for each pipeline of these environments that no file names; *kept* has (environment's id, name)."""
    for environment in environments:
        for row in sorted(drafts[environment["id"]], key=lambda row: str(row["name"])):
            if (environment["id"], row["name"]) not in kept:
                reason = "no file names it: undeployed and deleted"
                yield Step(Action.PRUNE, environment, row["name"], reason, draft=row)


def summary(steps: Sequence[Step]) -> str:
    """How many of each."""
    counts = {action: sum(each.action == action for each in steps) for action in Action}
    return ", ".join(
        f"{number} to {action}" if action != Action.UNCHANGED else f"{number} {action}"
        for action, number in counts.items()
        if number
    )
