"""Pages in headless Chromium."""

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium")
browser = pytest.mark.skipif(
    CHROMIUM is None and "PHYR_CHROMIUM_REQUIRED" not in os.environ,
    reason="the page needs a browser: apt install chromium",
)


def _program(profile: Path, *options: str) -> list[str]:
    """Return the command line of a browser without a screen."""
    assert CHROMIUM is not None, "the gate needs chromium"
    return [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        "--disable-dev-shm-usage", "--window-size=1400,1200",
        f"--user-data-dir={profile}", *options,
    ]  # fmt: skip


def opened(url: str, profile: Path, *options: str) -> str:
    """Open a page until nothing happens any more, and give what the browser prints."""
    program = _program(profile, "--virtual-time-budget=5000", *options, url)
    done = subprocess.run(program, capture_output=True, text=True, check=True, timeout=120)  # noqa: S603 - ours
    return done.stdout


def visited(url: str, profile: Path, is_done: threading.Event, *options: str) -> list[str]:
    """Leave a page open until it is done, a minute at most; return the lines of its console."""
    log = profile / "log.txt"
    program = _program(
        profile, "--enable-logging=stderr", "--remote-debugging-port=0", *options, url
    )
    with log.open("w") as file, subprocess.Popen(program, stdout=file, stderr=file) as running:  # noqa: S603 - ours
        was_done = is_done.wait(60)
        running.terminate()
    assert was_done, log.read_text()
    return [line for line in log.read_text().splitlines() if "CONSOLE" in line]
