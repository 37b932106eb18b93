"""The cost of checking and walking a serialised list in C, beside `Phyr.from_bytes`.

1,048,576 scattered pages, and include/phyr.h compiled by `cc -O2`.

    python benches/bench_c.py
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import phyr
from phyr import Phyr
from phyr.sim import scatter

SMOKE = "--smoke" in sys.argv
PAGES = 1 << 10 if SMOKE else 1 << 20
ROUNDS = 1 if SMOKE else 11
SOURCE = Path(__file__).parent / "c" / "check_walk.c"


def main() -> None:
    """Compile, run, and time the same in Rust by way of Python."""
    data = scatter(PAGES * 4096, seed=1, orders=[0]).to_bytes()
    with tempfile.TemporaryDirectory() as folder:
        program, file = Path(folder, "check_walk"), Path(folder, "list")
        file.write_bytes(data)
        compiler = ["cc", "-std=c99", "-O2", f"-I{phyr.include()}", str(SOURCE), "-o", str(program)]
        subprocess.run(compiler, check=True)  # noqa: S603 - ours
        run = [str(program), str(file), str(ROUNDS)]
        done = subprocess.run(run, check=True, capture_output=True, text=True)  # noqa: S603 - ours
        print("C:", done.stdout, end="")
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        Phyr.from_bytes(data)
        best = min(best, time.perf_counter() - began)
    print(f"Phyr.from_bytes: {best / PAGES * 1e9:.2f} ns a chunk")


if __name__ == "__main__":
    main()
