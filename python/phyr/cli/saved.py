"""Processes saved to files: described in docs/encoding.md."""

import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from phyr._phyr import Builder, Phyr
from phyr.cli.report import Row
from phyr.cli.scan import Scanned
from phyr.cli.whole import whole_file
from phyr.errors import FormatError, PhyrError
from phyr.pagemap.proc import Vma
from phyr.pagemap.process import Resident

__all__ = ["MAGIC", "Origin", "Saved", "load", "pack", "save", "segments", "unpack"]

MAGIC = b"PHYRDUMP"
VERSION = 1
# magic, version, bytes of the description, bytes in all, CRC-32 of all that follows, 0
_HEAD = struct.Struct("<8sIIQII")
_STATES = ("ram", "device", "zero", "swap", "hole")
_VMA = {
    "start": int, "end": int, "perms": str, "offset": int, "device": str, "inode": int, "name": str,
}  # fmt: skip
_TOP = 1 << 64


class Origin(NamedTuple):
    """Where and when a process was saved."""

    host: str
    boot_id: str
    """The kernel's, new at each start: physical addresses of two starts have nothing in common."""
    kernel: str
    time: str
    """UTC, ISO 8601."""

    @classmethod
    def here(cls) -> "Origin":
        """Describe this machine, now."""
        system = os.uname()
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(system.nodename, boot_id, f"{system.sysname} {system.release}", now)


class Saved(NamedTuple):
    """A process, as saved."""

    origin: Origin
    process: Scanned


def _where(row: Row, granule: int) -> Phyr:
    """Make the list of the virtual addresses of a VMA's RAM."""
    builder = Builder(granule)
    for uaddr, phyr in row.stretches:
        builder.append(uaddr, phyr.length)
    return builder.finish()


def pack(saved: Saved) -> bytes:
    """Write a process as bytes; its rows have their stretches."""
    origin, process = saved
    parts: list[bytes] = []
    vmas: list[dict[str, object]] = []
    for row in process.rows:
        builder = Builder(process.granule)
        for _, phyr in row.stretches:
            builder.extend(phyr)
        both = _where(row, process.granule).to_bytes(), builder.finish().to_bytes()
        parts += both
        states = {state: getattr(row.resident, state) for state in _STATES}
        vmas.append({**row.vma._asdict(), "states": states, "lists": [len(part) for part in both]})
    description = json.dumps(
        {
            **origin._asdict(),
            "pid": process.pid,
            "command": process.command,
            "granule": process.granule,
            "device_known": process.device_known,
            "vmas": vmas,
        }
    ).encode()
    description += b" " * (-len(description) % 8)
    body = b"".join([description, *parts])
    size = _HEAD.size + len(body)
    return _HEAD.pack(MAGIC, VERSION, len(description), size, zlib.crc32(body), 0) + body


def save(path: Path, saved: Saved) -> int:
    """Write a file that only its owner reads, all of it or nothing; give its size."""
    data = pack(saved)
    with whole_file(path) as file:
        file.write(data)
    return len(data)


def load(path: Path) -> Saved:
    """Read a file.

    Raises:
        FormatError: It is no saved process, or damaged.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        if not file.read(_HEAD.size).startswith(MAGIC):
            raise FormatError(f"{path}: no saved process, which starts with {MAGIC.decode()}")
        try:
            with (
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
                memoryview(data) as view,
            ):
                return unpack(view)
        except PhyrError as error:
            numbers = {name: it for name, it in vars(error).items() if name != "__notes__"}
            raise FormatError(f"{path}: {error}", **numbers) from error


def unpack(data: bytes | memoryview) -> Saved:
    """Read bytes, and check all of them.

    Raises:
        FormatError: They are no saved process, or damaged.
    """
    if len(data) < _HEAD.size:
        raise FormatError(f"{len(data)} bytes are too few for a saved process", given=len(data))
    magic, version, length, size, crc, zero = _HEAD.unpack_from(data)
    if (magic, version, zero) != (MAGIC, VERSION, 0):
        text = f"version {version} is not {VERSION}, or this is no saved process"
        raise FormatError(text, version=version)
    if size != len(data) or length > size - _HEAD.size:
        raise FormatError(
            f"the file has {len(data)} bytes, not {size} with {length} to describe it",
            given=len(data),
            expected=size,
            length=length,
        )
    if crc != zlib.crc32(memoryview(data)[_HEAD.size :]):
        raise FormatError("the file is damaged: its check sum differs")
    start = _HEAD.size + length
    try:
        told = json.loads(bytes(data[_HEAD.size : start]))
        return _saved(told, data, start)
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"the description is not of its form: {error!r:.80}") from error


def _saved(told: Any, data: bytes | memoryview, at: int) -> Saved:  # noqa: ANN401 - anything may be told
    """Take a description apart; the lists start at byte `at`."""
    rows = []
    end = 0
    for vma in told["vmas"]:
        area = Vma(**{name: _typed(vma[name], kind) for name, kind in _VMA.items()})
        if not end <= area.start < area.end <= _TOP:
            text = f"a VMA from {area.start:#x} to {area.end:#x} is out of order"
            raise FormatError(text, start=area.start, end=area.end)
        end = area.end
        lists = []
        for size in vma["lists"]:
            lists.append(Phyr.from_bytes(data[at : at + _typed(size, int)]))
            at += size
        where, what = lists
        _check(area, where, what)
        states = {state: _typed(vma["states"][state], int) for state in _STATES}
        if states["ram"] != what.length:
            text = f"{states['ram']:#x} bytes of RAM are told, {what.length:#x} listed"
            raise FormatError(text, told=states["ram"], listed=what.length)
        rows.append(Row.of(area, Resident(what, **states), stretches=list(_stretches(where, what))))
    if at != len(data):
        raise FormatError(f"{len(data) - at} bytes follow the last list", bytes=len(data) - at)
    origin = Origin(*(_typed(told[name], str) for name in Origin._fields))
    pid = told["pid"] if told["pid"] == "self" else _typed(told["pid"], int)
    command, granule = _typed(told["command"], str), _typed(told["granule"], int)
    known = _typed(told["device_known"], bool)
    return Saved(origin, Scanned(pid, command, granule, known, rows, {}))


def _typed(value: Any, kind: type) -> Any:  # noqa: ANN401
    if type(value) is not kind or (isinstance(value, int) and not 0 <= value <= _TOP):
        raise FormatError(f"{value!r:.40} is no {kind.__name__} that fits")
    return value


def _check(vma: Vma, where: Phyr, what: Phyr) -> None:
    """Refuse lists that do not fit each other, or the VMA."""
    at = vma.start
    for uaddr, length in where.chunks:
        if not at <= uaddr < uaddr + length <= vma.end:
            text = f"{uaddr:#x}+{length:#x} is not in order in its VMA"
            raise FormatError(text, uaddr=uaddr, length=length)
        at = uaddr + length
    if where.length != what.length:
        text = f"{where.length:#x} virtual bytes have {what.length:#x} physical ones"
        raise FormatError(text, virtual=where.length, physical=what.length)


def _stretches(where: Phyr, what: Phyr) -> Iterator[tuple[int, Phyr]]:
    at = 0
    for uaddr, length in where.chunks:
        yield uaddr, what[at : at + length]
        at += length


def segments(process: Scanned) -> Iterator[tuple[int, int, int]]:
    """Give all RAM as (uaddr, paddr, length), in the order of the virtual addresses."""
    for row in process.rows:
        for uaddr, phyr in row.stretches:
            at = uaddr
            for paddr, length in phyr.chunks:
                yield at, paddr, length
                at += length
