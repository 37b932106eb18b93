"""include/phyr.h, under sanitizers, reads what the package reads and refuses the rest."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import phyr
from support.c_reader import Case, packed, run_reader, said
from support.compiler import compiled
from support.form import Form, entry, form_of
from support.model import Model
from support.strategies import LONG, page_limit, patterned

ROOT = Path(phyr.include()).parent.resolve()
HERE = Path(__file__).parent
SANITIZERS = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
BUILDS = {
    "gcc, C99": ["gcc", "-std=c99", "-O2"],
    "gcc, C99, sanitizers": ["gcc", "-std=c99", *SANITIZERS],
    "clang, C99, sanitizers": ["clang", "-std=c99", *SANITIZERS],
    "gcc, C++11, sanitizers": ["g++", "-x", "c++", "-std=c++11", *SANITIZERS],
    "clang, C++17": ["clang++", "-x", "c++", "-std=c++17", "-O2"],
}
SHORT = 64 << 20


def some_model(rng: random.Random) -> Model:
    """Return a list that leans to what is hard: long runs, runs that touch, the last page."""
    granule = 1 << rng.choice([0, 2, 9, 12, 12, 12, 14, 16])
    limit = page_limit(granule)
    pieces, end = [], 16
    for _ in range(rng.choice([0, 1, 1, 2, 3, 8, 40])):
        order = rng.choice([0, 0, 1, 9, 18, 30])
        pfn = rng.choice([end, end + 1, rng.randrange(limit) >> order << order, limit - 1])
        pfn = min(pfn, limit - 1)
        count = rng.choice([1, 1, 2, 3, 1 << order, rng.randrange(1, 5000), *LONG[:5]])
        count = min(count, limit - pfn)
        pieces.append((pfn * granule, count * granule))
        end = pfn + count
    whole = Model(tuple(pieces), granule, rng.choice(["ram", "ram", "mmio:0", "mmio:4294967295"]))
    start = rng.randrange(min(granule, whole.length + 1))
    stop = whole.length - rng.randrange(min(granule, whole.length + 1))
    return whole.slice(start, max(start, stop))


def forged(rng: random.Random, form: Form) -> Form:
    """Return a form with something wrong, or merely different, under a right digest."""
    words = list(form.words)
    near = [0, 1, 2, 4095, 4096, (1 << 52) - 1, 1 << 52, (1 << 63), (1 << 64) - 1]
    any_number = rng.choice([*near, rng.getrandbits(64), form.length + 4096, form.length ^ 1])
    match rng.randrange(8):
        case 0 if words:
            words[rng.randrange(len(words))] ^= 1 << rng.randrange(64)
        case 1 if words:
            words[rng.randrange(len(words))] = rng.choice([0, 0x7FF, 0x800, any_number])
        case 2:
            words.insert(rng.randrange(len(words) + 1), rng.choice([5 << 12 | 0x801, any_number]))
        case 3 if words:
            del words[rng.randrange(len(words))]
        case 4:
            rng.shuffle(words)
        case 5:
            return replace(form, length=any_number, offset=rng.choice([form.offset, any_number]))
        case 6:
            return replace(form, granule_lg2=rng.choice([0, 12, 16, 17, 64, 255]))
        case _:
            return replace(
                form,
                version=rng.choice([0, 1, 2, 257]),
                kind=rng.choice([0, 1, 2, 3, 255]),
                provider=rng.choice([0, 1, (1 << 32) - 1, 1 << 32]),
                nr_words=rng.choice([None, any_number]),
            )
    return replace(form, words=tuple(words))


def cases() -> Iterator[Case]:
    """Yield lists, forgeries and damaged bytes, by seed."""
    rng = random.Random(16)  # noqa: S311 - cases, not secrets
    for number in range(1500):
        form = form_of(some_model(rng))
        page_size = rng.choice([4096, 4096, 8192, 65536])
        room = rng.choice([0, 8, 64, 4096, 4104, 1 << 17, 1 << 20])
        yield form.write(), page_size, room
        yield forged(rng, form).write(), 4096, 4096
        data = bytearray(form.write())
        if number % 2:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            yield bytes(data), 0, 0
        else:
            yield bytes(data[: rng.randrange(len(data))]), 0, 0
            yield bytes(data) + rng.randbytes(rng.choice([1, 7, 8, 64])), 0, 0
    far = Form(tuple(entry(1 << 48, 1)), 1 << 16, granule_lg2=16)
    total = Form((*entry(1 << 51, 1 << 51), *entry(0, 1 << 51)), 0)
    one = Form(tuple(entry(5, 1)), 4096)
    touching = Form((*entry(5, 1), *entry(6, 1)), 8192)
    for form in (far, total, touching, replace(one, magic=b"PHYS"), replace(one, version=3)):
        yield form.write(), 0, 0
    for nr_entries in (510, 511, 1021):
        yield form_of(Model.of_pages(range(1, 2 * nr_entries, 2))).write(), 4096, 1 << 16
        runs = patterned(nr_entries, 3)
        yield form_of(Model(tuple((a << 12, n << 12) for a, n in runs))).write(), 4096, 1 << 24


@pytest.fixture(scope="module")
def sent() -> tuple[bytes, list[str]]:
    """Return the input of the C programs and the lines expected of them."""
    all_cases = [
        (data, page_size if len(data) < 1 << 15 else 0, room) for data, page_size, room in cases()
    ]
    return packed(all_cases), [line for case in all_cases for line in said(case)]


@pytest.mark.parametrize("build", BUILDS)
def test_c_reads_what_python_reads_and_refuses_the_rest(
    build: str, sent: tuple[bytes, list[str]], tmp_path: Path
) -> None:
    program = compiled(HERE / "c" / "reader.c", BUILDS[build], tmp_path / "reader")
    whole, expected = sent
    found = run_reader(program, whole)
    for number, (line, wanted) in enumerate(zip(found, expected, strict=True)):
        assert line == wanted, number


def test_the_cases_reach_every_error_and_every_answer(sent: tuple[bytes, list[str]]) -> None:
    lines = sent[1]
    for code in range(-8, 1):
        assert f"open {code}" in lines
    assert sum(line.startswith("prp") for line in lines) > 100
    assert sum(line.startswith("prp ") and line.count(" ") > 513 for line in lines) > 1


def test_the_header_stays_small() -> None:
    header = Path(phyr.include()) / "phyr.h"
    lines = header.read_text().splitlines()
    assert len(lines) < 400
    assert max(map(len, lines)) <= 100
