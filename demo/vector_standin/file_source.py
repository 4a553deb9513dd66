"""The `file` source: follows growing files through rotation, and goes on after a restart where it stopped.

A file is known by its inode and a checksum of its first line, not by its name. Everything read in one look
has been written by the sinks before the checkpoint is: a clean stop neither loses nor repeats a line, a kill
can repeat what one look read. A file rotated away while nothing ran is found again in its folder and read to
its end.
"""

import glob
import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from . import log
from .fields import Field, Fields
from .sources import DECODING, LineSource
from .tailed_file import Checkpoint, Identity, TailedFile

LOOK_SECONDS = 0.25
# A file that no pattern matches any more is let go after it has been quiet for so long: whoever writes it may
# not have noticed the rotation yet.
ROTATED_SECONDS = 10.0
# How many files that are not followed now keep their checkpoint.
KEPT_CHECKPOINTS = 1000


class FileSource(LineSource):
    type = "file"
    fields: ClassVar[Fields] = {
        "include": Field("strings", required=True),
        "exclude": Field("strings", default=[]),
        "read_from": Field("string", default="beginning", choices=("beginning", "end")),
        "ignore_checkpoints": Field("boolean", default=False),
        "data_dir": Field("string"),
        "glob_minimum_cooldown_ms": Field("integer", default=1000),
        "max_line_bytes": Field("integer", default=102400),
        "decoding": DECODING,
    }

    @classmethod
    def problems(cls, options: dict[str, Any]) -> tuple[list[str], list[str]]:
        return ([] if options["include"] else ["`include` must name at least one file"]), []

    def start(self) -> None:
        self._files: dict[Identity, TailedFile] = {}
        self._quiet_since: dict[Identity, float] = {}
        self._searched_at = 0.0
        self._stopped = False
        self._refused: set[str] = set()
        folder = Path(self.options["data_dir"] or self.place.data_dir) / self.id
        self._store = folder / "checkpoints.json"
        folder.mkdir(parents=True, exist_ok=True)
        self._checkpoints = {} if self.options["ignore_checkpoints"] else self._load_checkpoints()
        log.info(
            "vector::sources::file",
            "Starting file server.",
            self.span,
            include=log.quote(self.options["include"]),
            exclude=log.quote(self.options["exclude"]),
        )
        self._find_files(at_start=True)
        self._follow_what_was_rotated_meanwhile()
        self.place.loop.call_later(0, self._look)

    def stop(self) -> None:
        self._stopped = True
        self._save_checkpoints(durable=True)
        for file in self._files.values():
            file.close()
        self._files.clear()

    # -- finding

    def _matching_paths(self) -> list[str]:
        excluded = {
            path for pattern in self.options["exclude"] for path in glob.glob(pattern, recursive=True)
        }
        included = {
            path for pattern in self.options["include"] for path in glob.glob(pattern, recursive=True)
        }
        return sorted(path for path in included - excluded if os.path.isfile(path))

    def _find_files(self, at_start: bool = False) -> None:
        self._searched_at = time.monotonic()
        matched: set[Identity] = set()
        for path in self._matching_paths():
            try:
                status = os.stat(path)
            except FileNotFoundError:
                # Gone since the folder was listed; if it was renamed its new name comes up.
                continue
            identity = (status.st_dev, status.st_ino)
            if identity in self._files:
                self._files[identity].path = path
            else:
                opened = self._open(path, from_end=at_start and self.options["read_from"] == "end")
                identity = opened or identity
            matched.add(identity)
        for identity in self._files:
            if identity in matched:
                self._quiet_since.pop(identity, None)
            else:
                self._quiet_since.setdefault(identity, time.monotonic())

    def _open(self, path: str, from_end: bool) -> Identity | None:
        try:
            file = TailedFile(path, self.options["max_line_bytes"])
        except OSError as error:
            if path not in self._refused:
                self._refused.add(path)
                self.report_error(
                    "Failed to open file.", "reader_failed", "receiving", file=path, error=log.quote(error)
                )
            return None
        self._refused.discard(path)
        known = self._checkpoints.get(file.identity)
        if known is not None and file.resume(known):
            log.info(
                "vector::internal_events::file::source",
                "Resuming to watch file.",
                self.span,
                file=path,
                file_position=file.position,
            )
        else:
            if from_end:
                file.skip_to_end()
            log.info(
                "vector::internal_events::file::source", "Found new file to watch.", self.span, file=path
            )
        self._files[file.identity] = file
        return file.identity

    def _follow_what_was_rotated_meanwhile(self) -> None:
        """A file with a checkpoint that no pattern matches now may lie beside its old place."""
        lost = {
            known.identity: known for known in self._checkpoints.values() if known.identity not in self._files
        }
        for folder in {os.path.dirname(known.path) or "." for known in lost.values()}:
            if not os.path.isdir(folder):
                continue
            with os.scandir(folder) as entries:
                for entry in entries:
                    if not entry.is_file(follow_symlinks=False):
                        continue
                    status = entry.stat(follow_symlinks=False)
                    known = lost.get((status.st_dev, status.st_ino))
                    if known is not None and status.st_size > known.position:
                        self._open(entry.path, from_end=False)
                        self._quiet_since[known.identity] = time.monotonic()

    # -- reading

    def _look(self) -> None:
        if self._stopped:
            return
        if time.monotonic() - self._searched_at >= self.options["glob_minimum_cooldown_ms"] / 1000:
            self._find_files()
        more = False
        read_any = False
        for identity, file in list(self._files.items()):
            try:
                lines, unread = file.read_lines()
            except OSError as error:
                self.report_error(
                    "Failed to read file.",
                    "reader_failed",
                    "receiving",
                    file=file.path,
                    error=log.quote(error),
                )
                continue
            self._report_too_long(file)
            if lines:
                self.emit(self.decode(lines, file=file.path))
            read_any = read_any or bool(lines)
            more = more or unread
            if identity in self._quiet_since:
                self._let_go_when_quiet(identity, busy=bool(lines) or unread)
        if read_any:
            self._save_checkpoints()
        self.place.loop.call_later(0 if more else LOOK_SECONDS, self._look)

    def _let_go_when_quiet(self, identity: Identity, busy: bool) -> None:
        now = time.monotonic()
        if busy:
            self._quiet_since[identity] = now
        elif now - self._quiet_since[identity] >= ROTATED_SECONDS:
            file = self._files.pop(identity)
            del self._quiet_since[identity]
            rest = file.read_rest()
            if rest:
                self.emit(self.decode([rest], file=file.path))
            self._remember(file)
            file.close()
            log.info(
                "vector::internal_events::file::source", "Stopped watching file.", self.span, file=file.path
            )

    def _report_too_long(self, file: TailedFile) -> None:
        if file.too_long:
            self.counters.discarded[False] += file.too_long
            self.report_error(
                "Found line that exceeds max_line_bytes; discarding.",
                "condition_failed",
                "receiving",
                file=file.path,
            )
            file.too_long = 0

    # -- checkpoints

    def _remember(self, file: TailedFile) -> None:
        checkpoint = file.checkpoint()
        if checkpoint is not None:
            self._checkpoints.pop(checkpoint.identity, None)
            self._checkpoints[checkpoint.identity] = checkpoint

    def _load_checkpoints(self) -> dict[Identity, Checkpoint]:
        try:
            rows = json.loads(self._store.read_text(encoding="utf-8"))["checkpoints"]
            known = [Checkpoint(**row) for row in rows]
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError) as error:
            log.warn(
                "vector::sources::file",
                "Could not read checkpoints; starting without.",
                self.span,
                file=self._store,
                error=log.quote(error),
            )
            return {}
        return {checkpoint.identity: checkpoint for checkpoint in known}

    def _save_checkpoints(self, durable: bool = False) -> None:
        """Replace the stored checkpoints in one step. durable: also against a power cut."""
        for file in self._files.values():
            self._remember(file)
        while len(self._checkpoints) > KEPT_CHECKPOINTS + len(self._files):
            del self._checkpoints[next(iter(self._checkpoints))]
        rows = [asdict(checkpoint) for checkpoint in self._checkpoints.values()]
        new = self._store.with_suffix(".new")
        try:
            with open(new, "w", encoding="utf-8") as stored:
                json.dump({"version": "1", "checkpoints": rows}, stored)
                if durable:
                    stored.flush()
                    os.fsync(stored.fileno())
            os.replace(new, self._store)
        except OSError as error:
            self.report_error(
                "Failed writing checkpoints.", "writer_failed", "receiving", error=log.quote(error)
            )
