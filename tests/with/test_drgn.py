"""drgn reads simulated memory, and phyr makes a list of what it reads."""

import sys
from pathlib import Path
from typing import Any

import pytest

from phyr import Phyr
from phyr.sim import Memory, SimDomain

ROOT = Path(__file__).parent.parent.parent

pytest.importorskip("drgn", exc_type=ImportError)


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401 - a module
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "drgn"))
    monkeypatch.delitem(sys.modules, "simulated", raising=False)
    import simulated  # noqa: PLC0415 - found only now

    return simulated


def test_a_list_is_found_through_the_debugger(
    simulated: Any,  # noqa: ANN401 - a module
    capsys: pytest.CaptureFixture[str],
) -> None:
    simulated.main()
    printed = capsys.readouterr().out
    assert "the same list: True" in printed
    assert "through drgn: b'drgn!'" in printed
    assert "of a task, the same list: True" in printed


def test_a_list_comes_from_the_page_table_of_a_task(simulated: Any) -> None:  # noqa: ANN401 - a module
    memory = Memory(1 << 30)
    chunks = [(0x1000_3000, 0x5000), (0x20_0000, 0x60_0000), (0x900_1000, 0x1000)]
    buffer, uaddr = Phyr.from_chunks(chunks), 0x5555_5540_0000 - 0x5000
    root = simulated.task(memory, uaddr, buffer)
    walked = list(simulated.pages(simulated.program(memory), root, uaddr, len(buffer)))
    # Three huge pages, and six of 4 KiB, of which no two are one.
    assert [length for _, length in walked] == [0x1000] * 5 + [0x20_0000] * 3 + [0x1000]
    part = simulated.pages(simulated.program(memory), root, uaddr + 0x4FF0, 0x20)
    assert list(part) == [(0x1000_7FF0, 0x10), (0x20_0000, 0x10)]
    assert Phyr.from_chunks(walked) == buffer


def test_what_is_not_mapped_is_not_made_up(simulated: Any) -> None:  # noqa: ANN401 - a module
    memory = Memory(1 << 30)
    domain = SimDomain(memory)
    domain.map_pages(0x1000, 0x7000, 0x1000, 1, prot=1)
    prog = simulated.program(memory)
    assert list(simulated.pages(prog, domain.root, 0x1800, 0x800)) == [(0x7800, 0x800)]
    with pytest.raises(LookupError, match="0x2000"):
        list(simulated.pages(prog, domain.root, 0x1800, 0x801))
