"""drgn reads simulated memory, and phyr makes a list of what it reads."""

import sys
from pathlib import Path
from typing import Any

import pytest

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


def test_what_is_not_mapped_is_not_made_up(simulated: Any) -> None:  # noqa: ANN401 - a module
    memory = Memory(1 << 30)
    domain = SimDomain(memory)
    domain.map_pages(0x1000, 0x7000, 0x1000, 1, prot=1)
    prog = simulated.program(memory)
    assert list(simulated.pages(prog, domain.root, 0x1800, 0x800)) == [(0x7800, 0x800)]
    with pytest.raises(LookupError, match="0x2000"):
        list(simulated.pages(prog, domain.root, 0x1800, 0x801))
