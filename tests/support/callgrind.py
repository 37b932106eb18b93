"""Instructions that operations take, as valgrind counts them: they repeat where times do not."""

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST = 1.3
"""Searches and sorting take a step more for each doubling."""
PLAIN_COPIES = {
    "GLIBC_TUNABLES": "glibc.cpu.x86_rep_movsb_threshold=1073741824"
    ":glibc.cpu.x86_rep_stosb_threshold=1073741824"
}
"""An environment in which the C library copies alike on all processors.

On some it copies kilobytes by `rep movsb`, of which valgrind counts each byte as an instruction.
"""


@cache
def built(bench: str) -> str:
    """Build a bench of the crate; return the program."""
    command = ["cargo", "bench", "--no-run", "--bench", bench, "--message-format=json"]
    build = subprocess.run(  # noqa: S603 - the command is ours
        command, cwd=ROOT, check=True, capture_output=True, text=True
    )
    messages = map(json.loads, build.stdout.splitlines())
    [program] = [found for message in messages if (found := message.get("executable"))]
    return str(program)


def costs_between(call: str, program: Sequence[str], folder: Path) -> list[int]:
    """Run a program that does operations, each between two calls of a function; count each."""
    counts = folder / "counts"
    options = [f"--callgrind-out-file={counts}", f"--dump-before={call}", "--combine-dumps=no"]
    command = ["valgrind", "--tool=callgrind", *options, *program]
    environment = os.environ | PLAIN_COPIES
    subprocess.run(command, check=True, capture_output=True, env=environment)  # noqa: S603 - the command is ours
    # Each dump ends at a call: every second one is an operation.
    dumps = sorted(folder.glob("counts.*"), key=lambda path: int(path.suffix[1:]))
    totals = [
        int(re.findall(r"^(?:totals|summary): (\d+)", dump.read_text(), re.MULTILINE)[-1])
        for dump in dumps
    ]
    return totals[1::2]


def worse_than_linear(
    names: Sequence[str], costs: Sequence[int], few: int, more: Mapping[str, float]
) -> list[str]:
    """Compare costs at `few` chunks, of all operations, with those at four times as many.

    Args:
        names: Of the operations.
        costs: Of each at `few` chunks, then of each at four times as many.
        few: The number of chunks.
        more: What some may take instead of `MOST` times four as much.

    Returns:
        A text for each operation that takes more.
    """
    assert len(costs) == 2 * len(names)
    worse = []
    for name, low, high in zip(names, costs[: len(names)], costs[len(names) :], strict=True):
        print(f"{name}: {low / few:.1f} and {high / few / 4:.1f} instructions a chunk")  # noqa: T201 - figures to report
        if high > 4 * more.get(name, MOST) * low:
            worse.append(f"{name}: {low} and {high}")
    return worse
