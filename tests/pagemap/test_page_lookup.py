"""Records of many pages at a time: sorted, several threads, and more than fit in one batch."""

from pathlib import Path

import numpy as np
import pytest

from phyr import Phyr
from phyr._phyr import FolioScan, page_records
from support.live import PAGE, PRESENT

HEAD, TAIL, THP, ANON = 1 << 15, 1 << 16, 1 << 22, 1 << 12
NOPAGE = 1 << 20
BATCH = 1 << 20


def file_of(folder: Path, records: np.ndarray) -> str:
    file = folder / "records"
    file.write_bytes(records.astype(np.uint64).tobytes())
    return str(file)


@pytest.mark.parametrize("count", [1, 40_000, 100_000])
def test_each_page_has_its_own_record(tmp_path: Path, count: int) -> None:
    rng = np.random.default_rng(count)
    records = rng.integers(0, 1 << 40, 300_000, dtype=np.uint64)
    pfns = rng.permutation(310_000)[:count]
    path = file_of(tmp_path, records)
    found = np.asarray(page_records(path, Phyr.from_pfns(pfns), PAGE, NOPAGE))
    assert (found == np.append(records, np.full(10_000, NOPAGE, np.uint64))[pfns]).all()


@pytest.mark.parametrize("more", [0, 1, 5])
def test_a_long_chunk_takes_several_batches(tmp_path: Path, more: int) -> None:
    records = np.arange(BATCH + 3, dtype=np.uint64)
    list_ = Phyr.from_chunks([(PAGE, (BATCH + more) * PAGE), (0, PAGE), (1 << 63, 2 * PAGE)])
    found = np.asarray(page_records(file_of(tmp_path, records), list_, PAGE, NOPAGE))
    numbers = np.arange(1, BATCH + more + 1)
    expected = np.where(numbers < BATCH + 3, numbers, NOPAGE)
    assert (found == np.concatenate([expected, [0, NOPAGE, NOPAGE]])).all()


@pytest.mark.parametrize("pages", [50_000, BATCH + 50_000])
def test_scattered_pages_are_counted_by_their_flags(tmp_path: Path, pages: int) -> None:
    """Single pages beside parts of large ones: half of each large page, in no order."""
    rng = np.random.default_rng(pages)
    flags = np.zeros(2 * pages, np.uint64)
    large = flags[: pages // 512 * 512].reshape(-1, 512)
    large[:] = THP | ANON | TAIL
    large[:, 0] = THP | ANON | HEAD
    flags[large.size :] = rng.choice([0, ANON], 2 * pages - large.size)
    pfns = rng.permutation(np.arange(0, 2 * pages, 2, dtype=np.uint64))
    scan = FolioScan(file_of(tmp_path, flags), PAGE, [])
    scan.feed(0, (pfns | np.uint64(PRESENT)).tobytes())
    found, (anon, file, *_), _ = scan.finish()
    assert found == [("thp", "anon", "part", 0, large.size // 2)]
    single = flags[large.size :: 2]
    assert anon == np.count_nonzero(single)
    assert file == np.count_nonzero(single == 0)


def test_a_file_that_cannot_be_read_is_an_error_of_each_thread(tmp_path: Path) -> None:
    pfns = np.random.default_rng(1).permutation(np.arange(0, 200_000, 2, dtype=np.uint64))
    scan = FolioScan(str(tmp_path), PAGE, [])
    scan.feed(0, (pfns | np.uint64(PRESENT)).tobytes())
    with pytest.raises(IsADirectoryError):
        scan.finish()
