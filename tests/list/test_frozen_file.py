"""Files of frozen lists: what opening reads; files that change, lie, or are cut short."""

import fcntl
import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from phyr import Chunks, FormatError, FrozenPhyr, Phyr

PAGE = 4096
ALL = (1 << 64) - 1
BLOCK = 128


def some_list(count: int, seed: int = 1) -> Phyr:
    rng = random.Random(seed)  # noqa: S311 - cases, not secrets
    pages = rng.sample(range(1, 1 << 28), count)
    return Phyr.from_chunks((page * PAGE, rng.choice([1, 1, 2, 9]) * PAGE) for page in pages)


def resident(path: Path) -> int:
    """Return the bytes of a file that are mapped by now: those touched, and some around them."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if line.endswith(str(path)))
    return next(int(line.split()[1]) << 10 for line in lines[at:] if line.startswith("Rss:"))


def forged_header(path: Path, nr_chunks: int) -> None:
    """Write a file that has no data: as large as that of so many chunks, and a header that fits."""
    nr_pages = 2 * nr_chunks
    nr_blocks = -(-nr_chunks // BLOCK)
    shift = next(lg2 for lg2 in range(64) if (nr_pages - 1) >> lg2 < nr_blocks)
    index = 8 + (((nr_pages - 1) >> shift) + 3) // 2
    data = index + 3 * (nr_blocks + 1)
    size = data + nr_chunks // 2
    header = struct.pack(
        "<4sHBB7Q", b"PHYF", 1, 12, 0, 0, 0, nr_pages * PAGE, nr_chunks, size, 0, 0
    )
    with path.open("wb") as file:
        file.write(header)
        file.seek(8 * (data - 3))
        file.write(struct.pack("<3Q", nr_pages, (size - data) << 24, 0))
        file.truncate(8 * size)


@pytest.mark.parametrize("nr_chunks", [1 << 16, 1 << 26])
def test_opening_reads_the_same_few_pages_whatever_the_size(tmp_path: Path, nr_chunks: int) -> None:
    path = tmp_path / "list"
    forged_header(path, nr_chunks)
    times = []
    for _ in range(50):
        start = time.perf_counter()
        frozen = FrozenPhyr.open(path, validate=False)
        times.append(time.perf_counter() - start)
    assert len(frozen.chunks) == nr_chunks
    # The header, and the last entry of the index; the kernel maps up to 64 KiB around each.
    assert resident(path) <= 2 * 64 << 10
    # The best of many tries, since other programs run, too.
    assert min(times) < 1e-3, f"{min(times) * 1e6:.0f} us"
    with pytest.raises(FormatError):
        frozen.validate()


def harmless(frozen: FrozenPhyr, positions: list[int]) -> None:
    """Read a list whose words are anything: answers may be wrong, but lie in the address space."""
    for position in positions:
        assert 0 <= frozen[position] <= ALL
        start, length = frozen.chunks[position % len(frozen.chunks)]
        assert 0 < length <= ALL + 1 - start
    for start, length in frozen.chunks[:300]:
        assert 0 < length <= ALL + 1 - start


def sound_or_refused(frozen: FrozenPhyr) -> None:
    """Thaw a list whose words are anything: it is a list of some chunks, or refused."""
    try:
        thawed = frozen.thaw()
    except FormatError:
        return
    assert Phyr.from_bytes(thawed.to_bytes()) == thawed
    assert thawed.length == frozen.length


def outcome(take: Callable[[Chunks], Any], chunks: Chunks) -> Any:  # noqa: ANN401
    """Return a table, or the text of the refusal of a list that changed."""
    try:
        return take(chunks)
    except (FormatError, pa.ArrowInvalid, OSError) as why:
        return str(why)


def test_a_table_of_words_that_changed_is_whole_or_refused(tmp_path: Path) -> None:
    """A row that was never written would be memory of somebody's."""
    written = some_list(1000).freeze().to_bytes()
    path = tmp_path / "list"
    path.write_bytes(written)
    chunks = FrozenPhyr.open(path).chunks
    refused = 0
    with path.open("r+b", buffering=0) as file:
        for at in range(0, len(written), 8):
            os.pwrite(file.fileno(), b"\xff" * 8, at)
            for take in (np.asarray, pa.record_batch, pa.table):
                table = outcome(take, chunks)
                if isinstance(table, str):
                    assert "changed" in table
                    refused += 1
                else:
                    assert len(table) == len(chunks)
                    assert min(np.asarray(table["length"]).tolist()) > 0
            column = outcome(lambda chunks: np.asarray(chunks.paddrs), chunks)
            assert isinstance(column, str) or len(column) == len(chunks)
            os.pwrite(file.fileno(), written[at : at + 8], at)
    assert refused > 10
    assert len(np.asarray(chunks)) == len(chunks)


def test_a_file_that_changed_is_said_to_have_changed(tmp_path: Path) -> None:
    """The refusal is of the list, not of a field of its header, which is as it was."""
    path = tmp_path / "list"
    path.write_bytes(some_list(2000).freeze().to_bytes())
    frozen = FrozenPhyr.open(path)
    with path.open("r+b", buffering=0) as file:
        os.pwrite(file.fileno(), bytes(path.stat().st_size - 64), 64)
    told = f"the words of a list of {frozen.length:#x} bytes are not those of a list: they changed"
    for take in (frozen.thaw, lambda: np.asarray(frozen.chunks), lambda: frozen.chunks.paddrs):
        with pytest.raises(FormatError, match=f"^{told} since it was opened") as caught:
            take()
        assert vars(caught.value) == {"length": frozen.length}
    with pytest.raises(FormatError, match=told):
        pa.record_batch(frozen.chunks)
    with pytest.raises((pa.ArrowInvalid, OSError), match="the words of a frozen list changed"):
        pa.table(frozen.chunks)


@pytest.mark.parametrize("method", ["paddrs", "lengths", "__array__", "__arrow_c_array__"])
def test_methods_that_refuse_a_changed_file_say_so(method: str) -> None:
    classes: list[type] = [Chunks]
    if method.startswith("__"):
        classes.append(type(some_list(2).freeze().chunks.table()))
    for each in classes:
        raises = getattr(each, method).__doc__.partition("Raises:")[2]
        assert "FormatError: " in raises, each


def test_a_file_is_checked_slice_by_slice(tmp_path: Path) -> None:
    phyr = some_list(3000)
    path = tmp_path / "list"
    path.write_bytes(phyr.freeze().to_bytes())
    frozen = FrozenPhyr.open(path, validate=False)
    middle = len(phyr) // 2
    parts = [frozen[:middle], frozen[middle:]]
    for part in [*parts, frozen]:
        part.validate()
    # The last words are those of the last chunks.
    with path.open("r+b", buffering=0) as file:
        os.pwrite(file.fileno(), b"\xff" * 8, path.stat().st_size - 8)
    parts[0].validate()
    assert parts[0] == phyr[:middle]
    for part in (parts[1], frozen):
        with pytest.raises(FormatError):
            part.validate()


@pytest.mark.parametrize("seed", range(6))
def test_a_file_that_changes_under_a_mapping_is_no_crash(tmp_path: Path, seed: int) -> None:
    phyr = some_list(1000, seed)
    written = phyr.freeze().to_bytes()
    path = tmp_path / "list"
    path.write_bytes(written)
    frozen = FrozenPhyr.open(path)
    rng = random.Random(seed)  # noqa: S311 - cases, not secrets
    with path.open("r+b", buffering=0) as file:
        for _ in range(150):
            size = rng.choice([1, 8, 8, 64])
            at = rng.choice([rng.randrange(64), rng.randrange(len(written) - size)])
            file.seek(at)
            file.write(rng.choice([rng.randbytes(size), bytes(size), b"\xff" * size]))
            harmless(frozen, [rng.randrange(len(phyr)) for _ in range(20)])
            sound_or_refused(frozen)
            file.seek(0)
            if file.read() != written:
                with pytest.raises(FormatError):
                    frozen.validate()
            try:
                again = FrozenPhyr.open(path, validate=False)
            except FormatError:
                pass
            else:
                harmless(again, [rng.randrange(again.length) for _ in range(20)])
        file.seek(0)
        file.write(written)
    frozen.validate()
    assert frozen == phyr


def test_a_file_that_changes_while_it_is_read_is_no_crash(tmp_path: Path) -> None:
    phyr = some_list(20_000)
    written = phyr.freeze().to_bytes()
    path = tmp_path / "list"
    path.write_bytes(written)
    frozen = FrozenPhyr.open(path)
    start, stop = threading.Event(), threading.Event()

    def scribble() -> None:
        rng = random.Random(3)  # noqa: S311 - cases, not secrets
        with path.open("r+b", buffering=0) as file:
            while not stop.is_set():
                file.seek(rng.randrange(len(written) - 64))
                file.write(rng.randbytes(64))
                start.set()

    thread = threading.Thread(target=scribble)
    thread.start()
    start.wait()
    try:
        for _ in range(30):
            harmless(frozen, list(range(0, len(phyr), len(phyr) // 50)))
            with pytest.raises(FormatError):
                frozen.validate()
            sound_or_refused(frozen)
    finally:
        stop.set()
        thread.join()


CUT = """
import os, sys
from phyr import FrozenPhyr
frozen = FrozenPhyr.open(sys.argv[1], validate=False)
os.truncate(sys.argv[1], 4096)
print("cut", flush=True)
frozen[len(frozen) - 1]
"""


def test_a_mapped_file_that_is_cut_short_ends_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(some_list(20_000).freeze().to_bytes())
    run = subprocess.run([sys.executable, "-c", CUT, str(path)], capture_output=True, check=False)  # noqa: S603 - ours
    assert run.stdout == b"cut\n"
    assert run.returncode == -signal.SIGBUS


def test_a_copy_or_a_sealed_file_cannot_be_cut_short(tmp_path: Path) -> None:
    phyr = some_list(20_000)
    path = tmp_path / "list"
    path.write_bytes(phyr.freeze().to_bytes())
    copied = FrozenPhyr.from_bytes(path.read_bytes())
    fd = os.memfd_create("list", os.MFD_ALLOW_SEALING)
    try:
        os.write(fd, path.read_bytes())
        os.truncate(path, 4096)
        assert copied == phyr
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
        frozen = FrozenPhyr.open(f"/proc/self/fd/{fd}")
        with pytest.raises(PermissionError):
            os.truncate(fd, 4096)
        assert frozen == phyr
    finally:
        os.close(fd)
    assert frozen[len(phyr) - 1] == phyr[len(phyr) - 1]


@pytest.mark.parametrize("form", [str, Path])
def test_an_error_of_a_file_names_the_file(tmp_path: Path, form: Callable[[str], object]) -> None:
    missing = form(str(tmp_path / "missing"))
    with pytest.raises(FileNotFoundError) as none:
        FrozenPhyr.open(missing)  # type: ignore[arg-type]
    assert none.value.filename == os.fspath(missing)  # type: ignore[call-overload]
    with pytest.raises(IsADirectoryError, match=f"{tmp_path.name}") as folder:
        FrozenPhyr.open(form(str(tmp_path)))  # type: ignore[arg-type]
    assert folder.value.filename == str(tmp_path)


def test_an_error_of_a_files_bytes_names_the_file_and_keeps_its_numbers(tmp_path: Path) -> None:
    path = tmp_path / "list"
    good = bytearray(some_list(2000).freeze().to_bytes())
    changed = good.copy()
    changed[1000] ^= 1
    for data in (b"", b"PHYX" + good[4:], good[:-8], good[:-3], changed, bytes(good[:5])):
        path.write_bytes(data)
        with pytest.raises(FormatError) as of_file:
            FrozenPhyr.open(path)
        with pytest.raises(FormatError) as of_bytes:
            FrozenPhyr.from_bytes(bytes(data))
        assert str(of_file.value).startswith(f"{path}: ")
        assert vars(of_file.value)["filename"] == str(path)
        # Where the file is mapped, another check may be the first to fail.
        assert vars(of_file.value).keys() - {"filename"}
        if str(of_file.value) == f"{path}: {of_bytes.value}":
            assert vars(of_file.value) == {**vars(of_bytes.value), "filename": str(path)}
        # Memory has no name.
        with pytest.raises(FormatError) as of_memory:
            FrozenPhyr.open(bytes(data))
        assert not hasattr(of_memory.value, "filename")


def test_an_error_is_known_by_its_class_and_not_by_a_name(tmp_path: Path) -> None:
    class Foreign(Exception):  # noqa: N818 - of others
        """An error of others with the name of one of phyr."""

    Foreign.__name__ = "FormatError"

    def refuse(*_arguments: object, **_named: object) -> None:
        raise Foreign("mine")

    (tmp_path / "list").write_bytes(some_list(5).to_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmap.mmap", refuse)
        with pytest.raises(Foreign, match=r"^mine$") as caught:
            FrozenPhyr.open(tmp_path / "list")
    assert not hasattr(caught.value, "filename")


def test_a_path_that_is_none_is_refused() -> None:
    for source in (5, 5.5, None):
        with pytest.raises(TypeError, match=r"os\.PathLike"):
            FrozenPhyr.open(source)  # type: ignore[arg-type]
