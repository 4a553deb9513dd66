"""One file that is followed: what of it has been read, by descriptor rather than by name."""

import os
import zlib
from dataclasses import dataclass

CHUNK_BYTES = 256 * 1024
# How much of the first line tells a file from one that took its place under the same inode.
HEAD_BYTES = 1024

Identity = tuple[int, int]


@dataclass(frozen=True)
class Checkpoint:
    """How far a file was read.

    position: bytes, always behind a newline. head_checksum: of the first `head_length` bytes.
    """

    device: int
    inode: int
    head_length: int
    head_checksum: int
    position: int
    path: str

    @property
    def identity(self) -> Identity:
        return self.device, self.inode


class TailedFile:
    """Follows one inode. It survives renames, and starts over when it is truncated or written anew."""

    def __init__(self, path: str, max_line_bytes: int) -> None:
        """Raises OSError if it cannot be opened."""
        self.path = path
        self.position = 0
        self.too_long = 0
        self._max_line_bytes = max_line_bytes
        self._skipping = False
        # Size and time of the last change, once all of it was read.
        self._seen = (-1, -1)
        self._head_length = 0
        self._head_checksum = 0
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        status = os.fstat(self._descriptor)
        self.identity: Identity = (status.st_dev, status.st_ino)

    def close(self) -> None:
        os.close(self._descriptor)

    def resume(self, checkpoint: Checkpoint) -> bool:
        """Go on behind a checkpoint, if this is still the file that it was made of."""
        head = os.pread(self._descriptor, checkpoint.head_length, 0)
        if len(head) < checkpoint.head_length or zlib.crc32(head) != checkpoint.head_checksum:
            return False
        if os.fstat(self._descriptor).st_size < checkpoint.position:
            return False
        self.position = checkpoint.position
        self._head_length, self._head_checksum = checkpoint.head_length, checkpoint.head_checksum
        return True

    def skip_to_end(self) -> None:
        """Start behind the last complete line."""
        size = os.fstat(self._descriptor).st_size
        while size > 0:
            start = max(0, size - CHUNK_BYTES)
            newline = os.pread(self._descriptor, size - start, start).rfind(b"\n")
            if newline >= 0:
                self.position = start + newline + 1
                break
            size = start
        self._remember_head()

    def checkpoint(self) -> Checkpoint | None:
        """Where a restart goes on, once something was read."""
        if not self._head_length:
            return None
        device, inode = self.identity
        return Checkpoint(device, inode, self._head_length, self._head_checksum, self.position, self.path)

    def read_lines(self) -> tuple[list[bytes], bool]:
        """The next complete lines, at most one chunk of them, and whether more may be waiting.

        Lines over the limit are left out and counted in `too_long`.
        """
        status = os.fstat(self._descriptor)
        size, seen = status.st_size, (status.st_size, status.st_mtime_ns)
        if seen == self._seen:
            return [], False
        if size < self.position or not self._head_is_unchanged():
            self.position, self._head_length, self._skipping = 0, 0, False
        limit = max(CHUNK_BYTES, self._max_line_bytes + 1)
        data = os.pread(self._descriptor, limit, self.position)
        end = data.rfind(b"\n") + 1
        if end == 0:
            if len(data) < limit:
                self._seen = seen
                return [], False
            self._skipping = True
            self.position += len(data)
            return [], True
        lines = data[: end - 1].split(b"\n")
        self.position += end
        if self._skipping:
            self._skipping = False
            self.too_long += 1
            lines = lines[1:]
        self._remember_head()
        kept = [line.removesuffix(b"\r") for line in lines if len(line) <= self._max_line_bytes]
        self.too_long += len(lines) - len(kept)
        more = self.position < size
        if not more:
            self._seen = seen
        return [line for line in kept if line], more

    def read_rest(self) -> bytes:
        """What stands behind the last newline; for a file that nobody writes any more."""
        rest = os.pread(self._descriptor, self._max_line_bytes, self.position)
        self.position += len(rest)
        return rest

    def _head_is_unchanged(self) -> bool:
        head = os.pread(self._descriptor, self._head_length, 0) if self._head_length else b""
        return zlib.crc32(head) == self._head_checksum if head else self._head_length == 0

    def _remember_head(self) -> None:
        if self._head_length or not self.position:
            return
        first_line = os.pread(self._descriptor, min(HEAD_BYTES, self.position), 0).partition(b"\n")[0]
        # An empty first line says nothing, but its newline at least does not vanish.
        self._head_length = max(1, len(first_line))
        self._head_checksum = zlib.crc32(os.pread(self._descriptor, self._head_length, 0))
