"""The differences between CPythons: hashes of tuples, the collector, subinterpreters."""

import gc
import subprocess
import sys

import pytest

from phyr import Chunk, Phyr

PHYR = Phyr.from_pfns([7, 8, 9, 512])


@pytest.mark.parametrize("make", [list, lambda chunks: [chunks[0], chunks[1]]])
def test_a_chunk_hashes_as_the_tuple_it_equals(make: object) -> None:
    assert callable(make)
    first, second = make(PHYR.chunks)
    for chunk, plain in ((first, (0x7000, 0x3000)), (second, (512 << 12, 0x1000))):
        assert type(chunk) is Chunk
        assert chunk == plain
        assert hash(chunk) == hash(plain)
        assert chunk in {Chunk(*plain), None}
        assert {chunk: 1}[plain] == 1


def test_chunks_of_many_places_have_many_hashes() -> None:
    chunks = Phyr.from_pfns(range(0, 2000, 2)).chunks
    assert len({hash(chunk) for chunk in chunks}) > 900


def test_the_collector_sees_no_tuple_in_the_making() -> None:
    """Every tuple that the collector lists is whole: `repr` of one that is not crashes."""
    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for chunk in Phyr.from_pfns(range(0, 600, 2)).chunks:
            for held in gc.get_referents(chunk):
                assert held is Chunk or type(held) is int
    finally:
        gc.set_threshold(*threshold)


LEGACY = """
import sys
{before}
if sys.version_info >= (3, 13):
    import _interpreters
    other = _interpreters.create("legacy")
    run = lambda code: _interpreters.exec(other, code)
else:
    import _xxsubinterpreters as _interpreters
    other = _interpreters.create(isolated=False)
    run = lambda code: _interpreters.run_string(other, code)
code = '''
try:
    import phyr
except ImportError as failure:
    assert "main interpreter" in str(failure), failure
else:
    raise SystemExit("imported")
'''
failed = run(code)
assert failed is None, failed
_interpreters.destroy(other)
import phyr
assert type(phyr.Phyr.from_pfns([1]).chunks[0]) is phyr.Chunk
"""


@pytest.mark.parametrize("before", ["", "import phyr"])
def test_another_interpreter_in_the_process_refuses_the_import(before: str) -> None:
    program = [sys.executable, "-c", LEGACY.format(before=before)]
    done = subprocess.run(program, check=False, capture_output=True, text=True)  # noqa: S603
    assert (done.returncode, done.stderr) == (0, "")
