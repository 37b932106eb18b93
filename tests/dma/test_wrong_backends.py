"""Objects that are no backend, owner or domain are refused before anything is held or mapped."""

import pytest

from phyr import Phyr, sim
from phyr.iommu import Direct, Direction, Paging, dma_map
from phyr.testing import TableDomain
from support.mappings import BOTH, Pin, scattered


class OneWay:
    """An object that can map, and not unmap."""

    def __init__(self) -> None:
        self.calls = 0

    def map(self, phyr: Phyr, _direction: Direction) -> Phyr:
        self.calls += 1
        return phyr


class Numbers(OneWay):
    """An object whose `unmap` is no method."""

    unmap = 7


@pytest.mark.parametrize("backend", [TableDomain(), sim.SimDomain(sim.Memory(1 << 20))])
def test_a_domain_in_place_of_a_backend_is_refused_with_the_cure(backend: object) -> None:
    with pytest.raises(TypeError) as caught:
        dma_map(scattered(), backend, BOTH)  # type: ignore[call-overload]
    assert str(caught.value) == (
        f"backend is of {type(backend)}, not a DmaBackend: pass Paging(domain)"
    )


@pytest.mark.parametrize(
    ("backend", "method"),
    [(5, "map"), (None, "map"), ("Direct", "map"), (OneWay(), "unmap"), (Numbers(), "unmap")],
)
def test_an_object_without_the_methods_is_refused_before_the_owner_is_held(
    backend: object, method: str
) -> None:
    pin = Pin()
    with pytest.raises(TypeError, match=f"^backend is of .*, not a DmaBackend: it.* {method}"):
        dma_map(scattered(), backend, BOTH, owner=pin)  # type: ignore[call-overload]
    assert pin.mappings == 0
    assert getattr(backend, "calls", 0) == 0


class Holding:
    """An owner that cannot release."""

    held = 0

    def hold(self) -> None:
        self.held += 1


@pytest.mark.parametrize(("owner", "method"), [(5, "hold"), (Holding(), "release")])
def test_an_owner_without_the_methods_is_refused_before_it_is_held(
    owner: object, method: str
) -> None:
    with pytest.raises(TypeError, match=f"^owner is of .*, not an Owner: it has no {method}"):
        dma_map(scattered(), Direct(), BOTH, owner=owner)  # type: ignore[call-overload]
    assert getattr(owner, "held", 0) == 0


@pytest.mark.parametrize(
    ("domain", "part"), [(5, "pgsize_bitmap"), (Direct(), "pgsize_bitmap"), (OneWay(), "pgsize")]
)
def test_paging_over_what_is_no_domain_is_refused(domain: object, part: str) -> None:
    with pytest.raises(TypeError, match=f"^domain is of .*, not an IommuDomain: it has no {part}"):
        Paging(domain)  # type: ignore[arg-type]


def test_a_domain_that_cannot_unmap_is_refused_when_paging_is_made() -> None:
    class Half:
        pgsize_bitmap = 4096
        aperture = (0, 1 << 40)
        reserved = ()

        def map_pages(self, *_numbers: object) -> None:
            raise AssertionError("mapped")

    with pytest.raises(TypeError, match="it has no unmap_pages"):
        Paging(Half())  # type: ignore[arg-type]
