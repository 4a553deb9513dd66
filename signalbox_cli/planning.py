"""Reading files and the server until it is known what has to be done; the server checks each file before anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from signalbox_cli import manifests, names, plans
from signalbox_cli.access import Access
from signalbox_cli.client import Api, Row, path
from signalbox_cli.failures import RefusedFailure, UnknownFailure, UsageFailure
from signalbox_cli.manifests import Manifest, Problem
from signalbox_cli.plans import Action, Step


def plan(access: Access, root: Path, environment: str | None, prune: bool, only_reads: bool) -> list[Step]:
    """What has to be done so that the server has what the files below *root* want.

    Where it *only_reads*, a token that may not have files checked is enough.

    :raises UsageFailure: a file is broken; each problem is told with file, line and field.
    """
    wanted, problems = manifests.read(root)
    _refuse(problems)
    api = access.api
    known = list(api.rows("/environments"))
    default = cache(lambda: access.environment(environment))
    places = [(each, _environment(each, default, environment, known, problems)) for each in wanted]
    _refuse(problems)
    environments = _distinct(place for _, place in places if place is not None)
    drafts = {row["id"]: list(api.rows("/pipelines", {"environmentId": row["id"]})) for row in environments}
    by_name = {(row["environmentId"], row["name"]): row for rows in drafts.values() for row in rows}
    steps: list[Step] = []
    for manifest, place in places:
        assert place is not None
        steps.append(_step(api, manifest, place, by_name.get((place["id"], manifest.name))))
    problems += _named_twice(steps)
    _refuse(problems)
    for each in steps:
        if each.action != Action.UNCHANGED:
            problems += _problems(api, each, only_reads)
    _refuse(problems)
    if prune:
        kept = {(each.environment["id"], each.name) for each in steps}
        steps += [_seen(api, each) for each in plans.prunes(environments, drafts, kept)]
    return steps


def _refuse(problems: Sequence[Problem]) -> None:
    if problems:
        what = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise UsageFailure(f"{what} in the files; nothing was changed.", [str(each) for each in problems])


def _environment(
    manifest: Manifest,
    default: Callable[[], Row],
    given: str | None,
    known: Sequence[Row],
    problems: list[Problem],
) -> Row | None:
    """The one that a file is for; what the command line names wins over nothing, not over the file."""
    if manifest.environment is None:
        try:
            return default()
        except UsageFailure:
            message = "it is missing, and neither -e nor the profile names one"
            problems.append(manifest.problem("environment", message))
            return None
    for row in known:
        if manifest.environment in (row["id"], row["name"]):
            if given is not None and given not in (row["id"], row["name"]):
                message = f"it is {row['name']}, and the command line names {given}"
                problems.append(manifest.problem("environment", message))
            return row
    hint = names.similar(manifest.environment, [row["name"] for row in known])
    problems.append(
        manifest.problem("environment", f'there is no environment "{manifest.environment}".{hint}')
    )
    return None


def _named_twice(steps: Iterable[Step]) -> list[Problem]:
    """Two files may mean one environment, by its name and its id, or by none at all."""
    first: dict[tuple[str, str], Step] = {}
    found = []
    for each in steps:
        other = first.setdefault((each.environment["id"], each.name), each)
        if other is not each and each.manifest is not None and other.manifest is not None:
            place = f"{other.manifest.file}:{other.manifest.lines['name']}"
            found.append(each.manifest.problem("name", f'"{each.name}" stands in {place} already'))
    return found


def _distinct(rows: Iterable[Row]) -> list[Row]:
    return list({row["id"]: row for row in rows}.values())


def _step(api: Api, manifest: Manifest, place: Row, draft: Row | None) -> Step:
    """One whose draft is read by itself where something is done to it: rows of a list have no tag."""
    found = plans.step(manifest, place, draft, _deployed(api, draft))
    if draft is None or found.action == Action.UNCHANGED:
        return found
    seen = _seen(api, found).seen
    assert seen is not None
    return plans.step(manifest, place, seen.row, _deployed(api, seen.row), seen)


def _seen(api: Api, step: Step) -> Step:
    assert step.draft is not None
    seen = api.see(path("pipelines", step.draft["id"]), f"the pipeline {step.title}")
    return replace(step, draft=seen.row, seen=seen)


def _deployed(api: Api, draft: Row | None) -> Row | None:
    if draft is None or draft["wantedVersion"] is None:
        return None
    try:
        row: Row = api.get(path("pipelines", draft["id"], "versions", str(draft["wantedVersion"])))
    except UnknownFailure:
        return None
    return row


def _problems(api: Api, step: Step, only_reads: bool) -> list[Problem]:
    """What a deploy of the file would be refused for."""
    manifest = step.manifest
    assert manifest is not None
    found = []
    if manifest.selector:
        try:
            # The server's own reading of selectors, in a list of one row at most.
            query = {"environmentId": step.environment["id"], "label": manifest.selector}
            list(api.rows("/nodes", query, most=1))
        except UsageFailure as failure:
            found.append(manifest.problem("selector", failure.message))
    try:
        body = {"configYaml": manifest.config_yaml, "environmentId": step.environment["id"]}
        answer = api.post("/pipelines/validate", body)
    except RefusedFailure:
        if only_reads:
            return found
        raise
    found += [
        manifest.config_problem(error.get("line"), error.get("component"), error["message"])
        for error in answer["errors"]
    ]
    return found
