"""include/phyr.h gives the verdict and the chunks of the Rust reader, on all seeds of the fuzzer.

Each seed is tried as it is, as the words of a list, and, if it is a frozen list, thawed. Then come
mutations by seed, each with the digest that it has and with the one that fits.
"""

import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from phyr import FormatError, FrozenPhyr, Phyr
from support.c_reader import Case, packed, run_reader, said
from support.compiler import compiled
from support.form import Form, digest

HERE = Path(__file__).parent
SEEDS = sorted((HERE.parents[1] / "fuzz" / "corpus").glob("*/*"))
SANITIZERS = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
BUILDS = {
    "gcc": ["gcc", "-std=c99", *SANITIZERS],
    "clang": ["clang", "-std=c99", *SANITIZERS],
}
HEADER = 48
MUTATIONS = 400
EDGES = [0, 1, 2, 0x7FF, 0x800, 0x801, 4095, 4096, 1 << 51, 1 << 52, 1 << 63, (1 << 64) - 1]


def lists_of(data: bytes) -> Iterator[bytes]:
    """Yield the lists that a seed may be."""
    yield data
    count = min(len(data) // 8, 64)
    words = struct.unpack_from(f"<{count}Q", data)
    yield Form(words, 4096 * count).write()
    try:
        yield FrozenPhyr.from_bytes(data).thaw().to_bytes()
    except FormatError:
        return


def with_right_digest(data: bytes) -> bytes:
    """Return the bytes with the digest that fits, if there is room for one."""
    if len(data) < HEADER or len(data) % 8:
        return data
    words = list(struct.unpack(f"<{len(data) // 8}Q", data))
    words[5] = digest([*words[:5], *words[6:]])
    return struct.pack(f"<{len(words)}Q", *words)


def mutated(rng: random.Random, data: bytes) -> bytes:
    """Return bytes with one to three changes."""
    made = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        # Among all bytes, or among the words; or the granule, which says what is out of reach.
        words = min(HEADER, len(made))
        at = rng.choice([rng.randint(0, len(made)), rng.randint(words, len(made)), min(6, words)])
        word = at // 8 * 8
        match rng.randrange(7):
            case 0 if at < len(made):
                made[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(made):
                made[at] = rng.choice([0, 1, 16, 0x80, 0xFF, rng.randrange(256)])
            case 2 if word + 8 <= len(made):
                number = rng.choice([*EDGES, rng.getrandbits(64)])
                made[word : word + 8] = number.to_bytes(8, "little")
            case 3:  # a word more, which the header may count
                made[word:word] = rng.choice([*EDGES, 5 << 12 | 0x801]).to_bytes(8, "little")
                count = (len(made) - HEADER) // 8
                if len(made) >= HEADER and count >= 0 and rng.random() < 0.8:
                    made[32:40] = count.to_bytes(8, "little")
            case 4:
                del made[at:]
            case 5 if word + 16 <= len(made):
                made[word : word + 16] = made[word + 8 : word + 16] + made[word : word + 8]
            case _:
                shift = rng.choice([1, 2, 12])
                if word + 8 <= len(made):
                    number = int.from_bytes(made[word : word + 8], "little") + (1 << shift)
                    made[word : word + 8] = (number & (1 << 64) - 1).to_bytes(8, "little")
    return bytes(made)


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    """Return the seeds, and what came of them."""
    rng = random.Random(5)  # noqa: S311 - cases, not secrets
    found = []
    for path in SEEDS:
        for data in lists_of(path.read_bytes()):
            found += [data, with_right_digest(data)]
            for _ in range(MUTATIONS if path.parent.name == "serial" else MUTATIONS // 10):
                made = mutated(rng, data)
                found += [made, with_right_digest(made)]
    return [(data, 4096 if len(data) < 1 << 12 else 0, 1 << 16) for data in found]


def test_the_cases_are_read_and_refused_for_every_reason(cases: list[Case]) -> None:
    verdicts = [said(case)[0] for case in cases]
    for code in range(-8, 1):
        assert verdicts.count(f"open {code}") >= 5, code


@pytest.mark.parametrize("build", BUILDS)
def test_user_addresses_are_not_given_to_a_device(build: str, tmp_path: Path) -> None:
    program = compiled(HERE / "c" / "reader.c", BUILDS[build], tmp_path / "reader")
    user = Phyr.from_chunks([(0x20_0000, 0x20_0000)], kind="user")
    case = (user.to_bytes(), 4096, 1 << 16)
    found = run_reader(program, packed([case]))
    assert found == said(case)
    assert found[-1] == "prp refused"


@pytest.mark.parametrize("build", BUILDS)
def test_c_and_rust_agree_on_every_seed_and_mutation(
    build: str, cases: list[Case], tmp_path: Path
) -> None:
    program = compiled(HERE / "c" / "reader.c", BUILDS[build], tmp_path / "reader")
    wanted = [line for case in cases for line in said(case)]
    found = run_reader(program, packed(cases))
    differ = [pair for pair in zip(found, wanted, strict=True) if pair[0] != pair[1]]
    assert differ == []
