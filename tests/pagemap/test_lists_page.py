"""The page docs/lists.md: its part about live memory, which doctest cannot run everywhere."""

import re
from pathlib import Path
from typing import Any

import pytest

from support.live import PAGE, look, shown

TEXT = (Path(__file__).parents[2] / "docs" / "lists.md").read_text()
(LIVE,) = re.findall(r"```python\n(import .*?)```", TEXT, re.DOTALL)


@shown
def test_what_was_never_written_is_named_and_what_was_is_found(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names: dict[str, Any] = {}
    exec(LIVE, names)  # noqa: S102 - our own document
    array = names["fresh"]
    told, first, found = capsys.readouterr().out.splitlines()
    uaddr = array.ctypes.data
    assert told.startswith(f"buffer {uaddr:#x}+0x4000000 is not all in RAM: ")
    assert told.endswith(" is not there: write to it first")
    start, length, state = first.split()
    assert uaddr <= int(start, 16) < int(start, 16) + int(length, 16) <= uaddr + array.nbytes
    assert state == "hole"
    assert look("self", (uaddr + 8) // PAGE) == ("ram", int(found, 16) // PAGE)
    assert (uaddr + 8) % PAGE == int(found, 16) % PAGE
