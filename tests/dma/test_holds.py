"""Releasing needs no memory: owners of phyr's own are let go whatever fails."""

import gc
import weakref

import pytest

from phyr._ownership import Owners
from phyr._phyr import Count, Sides
from support.live import python, shown, uring


class Failing:
    """An owner that says what it is asked, and fails at it."""

    def __init__(self, said: list[str], name: str, failing: str = "") -> None:
        self.said, self.name, self.failing = said, name, failing

    def hold(self) -> None:
        self._say("hold")

    def release(self) -> None:
        self._say("release")

    def _say(self, what: str) -> None:
        self.said.append(f"{what} {self.name}")
        if what in self.failing:
            raise OSError(self.name)


def test_a_count_counts() -> None:
    count = Count()
    for _ in range(3):
        count.add()
    count.drop()
    assert count.value == 2
    for _ in range(3):
        count.drop()
    assert count.value == -1


def test_several_owners_are_held_by_all_or_none() -> None:
    said: list[str] = []
    owners = Sides((Failing(said, "a"), Failing(said, "b"), Failing(said, "c", "hold")))
    with pytest.raises(OSError, match="c"):
        owners.hold()
    assert said == ["hold a", "hold b", "hold c", "release a", "release b"]


def test_each_owner_is_released_even_if_one_fails() -> None:
    said: list[str] = []
    names = {"a": "release", "b": "", "c": "release"}
    owners = Owners([None, *(Failing(said, name, failing) for name, failing in names.items())])
    owners.hold()
    with pytest.raises(OSError, match="a") as caught:
        owners.release()
    assert said[3:] == ["release a", "release b", "release c"]
    assert caught.value.__notes__ == ["letting another owner go: OSError('c')"]


def test_an_owner_without_the_methods_is_refused() -> None:
    with pytest.raises(AttributeError, match="hold"):
        Sides((3,))


def test_owners_that_refer_to_each_other_are_collected() -> None:
    owner = Failing([], "a")
    owner.said.append(Owners([owner]))  # type: ignore[arg-type]
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None


# A program of its own: what measures coverage here needs memory, too.
RELEASE = """
import _testcapi, gc
from contextlib import suppress
from phyr import Phyr, pin
from phyr._phyr import held
from phyr.iommu import Direct, Direction, dma_map

with pin(bytearray(8192)) as pinned:
    owned = held(Phyr.from_pfns([1, 9]), pinned.phyr.owner, None)
    for number in range(40):
        mapping = dma_map(owned, Direct(), Direction.TO_DEVICE)
        with suppress(MemoryError):
            _testcapi.set_nomemory(number, number + 1)
            mapping.unmap()
        _testcapi.remove_mem_hooks()
        del mapping
        gc.collect()
        assert pinned.mappings == 0, number
print("done")
"""


@shown
@uring
def test_a_pin_is_released_whatever_allocation_fails() -> None:
    pytest.importorskip("_testcapi", reason="this Python cannot make allocations fail")
    done = python("-c", RELEASE)
    assert (done.stdout, done.stderr) == ("done\n", "")
