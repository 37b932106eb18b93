"""Several processes map one file of a frozen list: each reads it all, and none has its own copy."""

import hashlib
import json
import os
import random
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from phyr import FrozenPhyr, Phyr
from support.live import PAGE, end, linux

pytestmark = linux

CHILDREN = 3
READER = """
import hashlib, json, os, sys
from phyr import FrozenPhyr

path, asked = sys.argv[1], json.loads(sys.argv[2])
children, is_inherited = int(sys.argv[3]), sys.argv[4] == "inherited"
frozen = FrozenPhyr.open(path, validate=False) if is_inherited else None
pids = []
for _ in range(children):
    pids.append(os.fork())
    if not pids[-1]:
        break
if children and pids[-1]:
    os._exit(max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids))
if frozen is None:
    frozen = FrozenPhyr.open(path, validate=False)
chunks = json.dumps([tuple(chunk) for chunk in frozen.chunks]).encode()
answer = {
    "pid": os.getpid(),
    "length": frozen.length,
    "paddrs": list(frozen.translate(asked)),
    "numbers": [frozen.chunks.find(position) for position in asked],
    "part": list(frozen[asked[0] :].chunks[0]),
    "chunks": hashlib.blake2b(chunks).hexdigest(),
}
# All of it at once, so that no line comes inside another.
os.write(1, json.dumps(answer).encode() + b"\\n")
sys.stdin.read()
os._exit(0)
"""


def mapping_of(pid: int, path: Path) -> dict[str, int]:
    """Return the bytes of each sort of the one mapping of a file, as the kernel counts them."""
    found: list[dict[str, int]] = []
    is_inside = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, *words = line.split()
        if not name.endswith(":"):
            is_inside = line.endswith(str(path))
            found += [{}] if is_inside else []
        elif is_inside and words[-1] == "kB":
            found[-1][name[:-1]] = int(words[0]) << 10
    [mapping] = found
    return mapping


@pytest.mark.parametrize("how", ["spawned", "forked", "inherited"])
def test_processes_share_the_pages_of_a_file(tmp_path: Path, how: str) -> None:
    rng = random.Random(how)  # noqa: S311 - cases, not secrets
    starts = rng.sample(range(1, 1 << 26), 60_000)
    phyr = Phyr.from_chunks((4 * PAGE * at, PAGE * rng.choice([1, 1, 2, 3])) for at in starts)
    path = tmp_path / "list"
    with path.open("wb") as file:
        file.write(phyr.freeze().to_bytes())
        file.flush()
        os.fsync(file.fileno())
    assert path.read_bytes().startswith(b"PHYF")
    size = -(-path.stat().st_size // PAGE) * PAGE
    assert size > 16 * PAGE
    asked = [rng.randrange(phyr.length) for _ in range(20)]
    expected = {
        "length": phyr.length,
        "paddrs": [phyr[position] for position in asked],
        "numbers": [phyr.chunks.find(position) for position in asked],
        "part": list(phyr[asked[0] :].chunks[0]),
        "chunks": hashlib.blake2b(json.dumps(list(map(tuple, phyr.chunks))).encode()).hexdigest(),
    }
    forks = 0 if how == "spawned" else CHILDREN
    command = [sys.executable, "-c", READER, str(path), json.dumps(asked), str(forks), how]
    with ExitStack() as stack:
        pids, started = [], []
        for _ in range(1 if forks else CHILDREN):
            run = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - ours
            started.append(stack.enter_context(run))
            stack.callback(end, run)
        for each in started:
            assert each.stdout is not None
            for _ in range(forks or 1):
                answer = json.loads(each.stdout.readline())
                pids.append(answer.pop("pid"))
                assert answer == expected
        assert len(set(pids)) == CHILDREN
        # All have read all of it, and are still there.
        for pid in pids:
            mapping = mapping_of(pid, path)
            assert mapping["Size"] == size
            assert mapping["Private_Dirty"] == mapping["Anonymous"] == 0
            # The kernel may have taken some pages back by now.
            assert mapping["Shared_Clean"] + mapping["Shared_Dirty"] > size // 2
        for each in started:
            each.communicate(timeout=60)
            assert each.returncode == 0
    assert FrozenPhyr.open(path) == phyr
