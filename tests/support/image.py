"""Carries out a Dockerfile's instructions in plain folders: what an image would hold, without Docker.

Every stage gets a folder that stands for its file system. The base image is the Python under the one that runs the
tests; absolute paths below OWN lie in the stage's folder, all others are this machine's.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

OWN = ("/opt", "/srv")
"""Where an image may put things: nothing on this machine is touched."""
BUILD_SECONDS = 500.0
_OWN_PATH = re.compile(r"(?<![\w./-])(?=(?:/opt|/srv)/)")


class ImageError(Exception):
    """The Dockerfile asks for what cannot be done here, or one of its commands failed."""


@dataclass
class Stage:
    """What has been built so far, and in the end the image."""

    root: Path
    environment: dict[str, str]
    workdir: str = "/"
    user: str = "root"
    command: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """The working directory on this machine."""
        return self.place(self.workdir)

    def place(self, path: str) -> Path:
        """Where a path of the image lies on this machine."""
        absolute = os.path.normpath(os.path.join(self.workdir, path))
        if not absolute.startswith(tuple(f"{own}/" for own in OWN)):
            raise ImageError(f"{path} is outside of what can be carried out here: {OWN}")
        return self.root / absolute.removeprefix("/")

    def translate(self, text: str) -> str:
        """`text` with the image's own paths as they are on this machine."""
        return _OWN_PATH.sub(str(self.root), text)

    def run(self, command: list[str], settings: Mapping[str, str] | None = None, typed: str = "") -> str:
        """Run a program as in the image; its standard output. Raises ImageError when it fails."""
        environment = {**self.environment, **(settings or {})}
        program = shutil.which(command[0], path=environment["PATH"])
        if program is None:
            raise ImageError(f"the image has no program {command[0]}")
        done = subprocess.run(
            [program, *command[1:]],
            cwd=self.folder,
            env=environment,
            input=typed,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
        )
        if done.returncode != 0:
            raise ImageError(
                f"{shlex.join(command)} exited with {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return done.stdout


def build(dockerfile: Path, context: Path, folder: Path) -> Stage:
    """Carry out every instruction; the last stage. The others are removed: an image does not hold them."""
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for name, value in read_instructions(dockerfile):
        if name == "FROM":
            title = value.partition(" AS ")[2] or str(len(stages))
            stage = stages[title] = _base_image(value.split()[0], folder, f"stage-{len(stages)}")
        elif stage is None:
            raise ImageError(f"{name} comes before FROM")
        else:
            _carry_out(stage, name, value, context, stages)
    if stage is None:
        raise ImageError("there is no FROM")
    for other in stages.values():
        if other is not stage:
            shutil.rmtree(other.root)
    return stage


def read_instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """(name, the rest of its line) of each instruction; continued lines are joined, comments left out."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    found = [line.split(None, 1) for line in joined.splitlines() if line.strip()]
    return [(name.upper(), rest.strip()) for name, rest in found]


def read_context(project: Path, names: list[str]) -> list[str]:
    """Those names that .dockerignore lets through, of the forms that ours uses: `*`, `!name`, `**/pattern`."""
    lines = (project / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    if patterns[0] != "*":
        raise ImageError(".dockerignore does not begin by leaving everything out")
    kept = {pattern.removeprefix("!") for pattern in patterns if pattern.startswith("!")}
    return [name for name in names if name.split("/")[0] in kept]


def _base_image(image: str, folder: Path, name: str) -> Stage:
    """A stage with nothing but the base image's Python, which all stages share as they do in Docker."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if not image.startswith(f"python:{version}-slim"):
        raise ImageError(f"{image} is not the Python {version} that runs the tests")
    programs = folder / "base-image"
    if not programs.exists():
        programs.mkdir(parents=True)
        (programs / "python").symlink_to(Path(getattr(sys, "_base_executable", sys.executable)).resolve())
    kept = {"HOME", "LANG", "TMPDIR"}
    environment = {
        name: value for name, value in os.environ.items() if name in kept or name.startswith("PIP_")
    }
    return Stage(folder / name, environment | {"PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin"})


def _carry_out(stage: Stage, name: str, value: str, context: Path, stages: Mapping[str, Stage]) -> None:
    match name:
        case "WORKDIR":
            stage.workdir = value
            stage.folder.mkdir(parents=True, exist_ok=True)
        case "COPY":
            _copy(stage, value, context, stages)
        case "RUN":
            stage.run(["sh", "-ec", stage.translate(value)])
        case "ENV":
            for assignment in shlex.split(value):
                key, _, text = assignment.partition("=")
                stage.environment[key] = Template(stage.translate(text)).substitute(stage.environment)
        case "USER":
            stage.user = value
        case "CMD":
            stage.command = json.loads(value)
        case "HEALTHCHECK":
            stage.healthcheck = json.loads(value[value.index("CMD ") + len("CMD ") :])
        case "EXPOSE" | "VOLUME":
            return  # changes nothing of what the image holds
        case _:
            raise ImageError(f"{name} cannot be carried out here")


def _copy(stage: Stage, value: str, context: Path, stages: Mapping[str, Stage]) -> None:
    *sources, target = value.split()
    origin = None
    if sources[0].startswith("--from="):
        origin = stages[sources.pop(0).removeprefix("--from=")]
    elif sources[0].startswith("--"):
        raise ImageError(f"COPY {sources[0]} cannot be carried out here")
    destination = stage.place(target)
    for source in sources:
        path = origin.place(source) if origin is not None else context / source
        if path.is_dir():
            shutil.copytree(path, destination, symlinks=True, dirs_exist_ok=True)
        else:
            into = destination / path.name if target.endswith("/") else destination
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, into)
    if origin is not None:
        _move_first_lines(destination, origin.root, stage.root)


def _move_first_lines(folder: Path, before: Path, after: Path) -> None:
    """In an image a path is the same in every stage; here the scripts of an environment must learn the new one."""
    for script in (folder / "bin").glob("*"):
        if script.is_file() and not script.is_symlink():
            script.write_bytes(script.read_bytes().replace(os.fsencode(before), os.fsencode(after), 1))
