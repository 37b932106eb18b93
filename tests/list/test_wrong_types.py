"""Arguments of a wrong type: the message says which argument, and what was passed."""

from collections.abc import Callable
from itertools import count
from types import SimpleNamespace

import pytest

from phyr import Builder, Index, Phyr, PhyrError, PinCache, RangeError, desc, pagemap, pin
from phyr.iommu import (
    Bounce,
    BusOffset,
    DeviceLimits,
    Direct,
    IovaAllocator,
    IovaMap,
    Otherwise,
    Paging,
    Staging,
    alignment,
    dma_map,
    dma_unmap,
    plan_map,
)
from phyr.pci import Function
from phyr.sim import Device, Memory, Region, SimDomain
from phyr.testing import TableDomain, check_backend, check_domain
from support.mappings import BOTH

PHYR = Phyr.from_pfns([1, 2, 5])
MEMORY = Memory(1 << 20)
# Has the names that are asked for, but no methods.
FIELDS = SimpleNamespace(
    pgsize_bitmap=4096,
    aperture=(0, 9),
    reserved=(),
    map_pages=1,
    unmap_pages=1,
    read=1,
    write=1,
    map=1,
    unmap=1,
)
NO_INT = "not an int"
AS_INT = "'str' object cannot be interpreted as an integer"


def case(call: Callable[..., object], *given: object, **named: object) -> Callable[[], object]:
    return lambda: call(*given, **named)


CASES = {
    # Names come from the call itself.
    "a range is 5, not a pair of ints": case(desc.from_ranges, [5]),
    "a range is (1, 2, 3), not a pair of ints": case(desc.from_ranges, [(1, 2, 3)]),
    "a range is 5.5, not a pair of ints": case(desc.from_ranges, [5.5]),
    "a range is 'ab', not a pair of ints": case(desc.from_ranges, ["ab"]),
    "a range is {3, 7}, not a pair of ints": case(desc.from_ranges, [{3, 7}]),
    "aperture is count(3), not a pair of ints": case(IovaAllocator, count()),
    "ranges is of <class 'int'>, not an iterable of pairs of ints": case(desc.from_ranges, 5),
    f"a range is 'a', {NO_INT}": case(desc.from_ranges, [("a", 2)]),
    "text is of <class 'int'>, not a str": case(desc.from_iomem, 5),
    "text is of <class 'bytes'>, not a str": case(desc.from_iomem, b"0-1 : a"),
    "name is of <class 'NoneType'>, not a str": case(desc.from_iomem, "", None),
    "aperture is 5, not a pair of ints": case(IovaAllocator, 5),
    f"aperture is None, {NO_INT}": case(IovaAllocator, (0, None)),
    "a reserved range is 5, not a pair of ints": case(IovaAllocator, (0, 9), [5]),
    "reserved is of <class 'int'>, not an iterable of pairs of ints": case(
        IovaAllocator, (0, 9), 5
    ),
    f"length is 'a', {NO_INT}": case(IovaAllocator().alloc, "a"),
    f"align is 1.5, {NO_INT}": case(IovaAllocator().alloc, 1, align=1.5),
    f"residue is None, {NO_INT}": case(IovaAllocator().alloc, 1, residue=None),
    f"last is 'b', {NO_INT}": case(IovaAllocator().alloc, 1, last="b"),
    f"pgsize_bitmap is 'c', {NO_INT}": case(
        IovaAllocator().alloc_for_pages, 1, "c", align=1, least=1, residue=0
    ),
    f"iova is 'a', {NO_INT}": case(IovaAllocator().free, "a"),
    f"offset is 'a', {NO_INT}": case(BusOffset, "a"),
    f"a provider is 'a', {NO_INT}": case(BusOffset, 0, {"a": 1}),
    f"the offset of provider 1 is 'a', {NO_INT}": case(BusOffset, 0, {1: "a"}),
    "providers is of <class 'int'>, not a mapping of provider to offset: it has no items": case(
        BusOffset, 0, 5
    ),
    "memory is of <class 'int'>, not a CpuMemory: it has no read": case(Staging, 5, MEMORY),
    "pool is of <class 'int'>, not a PagePool: it has no alloc": case(Staging, MEMORY, 5),
    "staging is of <class 'int'>, not a Staging: it has no stage": case(Bounce, 5, dma_mask=5),
    f"dma_mask is 'a', {NO_INT}": case(Bounce, Staging(MEMORY, MEMORY), dma_mask="a"),
    f"dma_mask is 1.5, {NO_INT}": case(Paging, TableDomain(), dma_mask=1.5),
    "otherwise is of <class 'int'>, not an Otherwise or a Staging": case(
        Paging, TableDomain(), otherwise=5
    ),
    "iovas is of <class 'int'>, not an IovaAllocator: it has no alloc_for_pages": case(
        Paging, TableDomain(), iovas=5
    ),
    "memory is of <class 'int'>, not a phyr.sim.Memory": case(Device, 5),
    "domain is of <class 'int'>, not an IommuDomain: it has no pgsize_bitmap": case(
        Device, MEMORY, 5
    ),
    f"mask is 'm', {NO_INT}": case(Device, MEMORY, mask="m"),
    f"dma is 'a', {NO_INT}": case(Device(MEMORY).read, "a", 4),
    f"length is 4.5, {NO_INT}": case(Device(MEMORY).read, 0, 4.5),
    "device is of <class 'int'>, not a Device: it has no read": case(Region, 5),
    f"size is 's', {NO_INT}": case(Region, Device(MEMORY), size="s"),
    "make is of <class 'phyr.iommu.identity.Direct'>, not a function that makes a backend: "
    "pass its class or a lambda": case(check_backend, Direct(), lambda _, iova: iova),
    "make is of <class 'phyr.testing.table.TableDomain'>, not a function that makes a domain: "
    "pass its class or a lambda": case(check_domain, TableDomain()),
    f"start is 'a', {NO_INT}": case(pagemap.read, "self", "a", 3),
    f"length is 'b', {NO_INT}": case(pagemap.read, "self", 3, "b"),
    "block_sizes is of <class 'int'>, not an iterable of ints": case(pagemap.Scan, 5),
    f"a block size is 'a', {NO_INT}": case(pagemap.Scan, ["a"]),
    f"limit is 'a', {NO_INT}": case(PinCache(limit=5).trim, "a"),
    "backend is of <class 'int'>, not a Type1 or an Ioas: it has no map_user": case(
        pin, bytearray(9), backend=5
    ),
    f"pgsize_bitmap is 'a', {NO_INT}": case(TableDomain, "a"),
    "aperture is (1,), not a pair of ints": case(TableDomain, aperture=(1,)),
    "phyr is of <class 'int'>, not a list of memory": case(BusOffset(5).map, 5, BOTH),
    "phyr is of <class 'str'>, not a list of memory": case(Paging(TableDomain()).map, "a", BOTH),
    "phyr is of <class 'list'>, not a list of memory": case(
        Bounce(Staging(MEMORY, MEMORY), dma_mask=5).map, [5], BOTH
    ),
    "phyr is of <class 'tuple'>, not a list of memory": case(Staging(MEMORY, MEMORY).stage, ()),
    f"align is 'a', {NO_INT}": case(Staging(MEMORY, MEMORY).stage, PHYR, align="a"),
    f"address is 'a', {NO_INT}": case(Region(Device(MEMORY)).find_regions, "a"),
    "address is of <class 'int'>, not a str": case(Function, 5),
    "plan is of <class 'int'>, not a Plan: it has no iovas": case(
        SimDomain(MEMORY).map_batch, 5, 1
    ),
    # Names come from the signature.
    f"argument 'granule': {AS_INT}": case(Builder, "a"),
    "argument 'kind': 'int' object is not an instance of 'str'": case(Builder, 1, 5),
    f"argument 'paddr': {AS_INT}": case(Builder().append, "a", 1),
    "argument 'other': <class 'int'> is not a list of memory": case(Builder().extend, 5),
    "argument 'phyr': <class 'int'> is not a list of memory": case(alignment, 5, 4096),
    f"argument 'iova': {AS_INT}": case(plan_map, PHYR, "a", 4096),
    f"argument 'length': {AS_INT}": case(IovaMap().unmap, 0, "a"),
    "argument 'mapping': 'int' object is not an instance of 'Mapping'": case(dma_unmap, 5),
    "argument 'lists': <class 'list'> is not a list of memory": case(desc.prp, PHYR, [5]),
    "argument 'limits': <class 'int'> is not a DeviceLimits: it has no max_segment_size": case(
        desc.phys_vecs, PHYR, limits=5
    ),
    "argument 'memory': 'str' object is not an instance of 'Memory'": case(SimDomain, "a"),
    "lists is of <class 'int'>, not an iterable of lists of memory": case(Index, 5),
    "item 1 is of <class 'int'>, not a list of memory": case(Index, [PHYR, 5]),
    f"domain is of {SimpleNamespace}, not an IommuDomain: its map_pages cannot be called": case(
        Paging, FIELDS
    ),
    f"memory is of {SimpleNamespace}, not a CpuMemory: its read cannot be called": case(
        Staging, FIELDS, MEMORY
    ),
    f"backend is of {SimpleNamespace}, not a DmaBackend: its map cannot be called": case(
        dma_map, PHYR, FIELDS, BOTH
    ),
    f"owner is of {SimpleNamespace}, not an Owner: it has no hold": case(
        dma_map, PHYR, Direct(), BOTH, owner=FIELDS
    ),
    "direction is of <class 'int'>, not a Direction": case(dma_map, PHYR, Direct(), 5),
}


@pytest.mark.parametrize("make", [Index, Phyr.join])
def test_something_else_than_lists_is_told_in_the_same_words(
    make: Callable[[object], object],
) -> None:
    for value, message in [
        (5, "lists is of <class 'int'>, not an iterable of lists of memory"),
        ([PHYR, PHYR.freeze(), "a"], "item 2 is of <class 'str'>, not a list of memory"),
    ]:
        with pytest.raises(TypeError) as caught:
            make(value)
        assert str(caught.value) == message


@pytest.mark.parametrize("message", CASES)
def test_a_wrong_type_is_told_by_name(message: str) -> None:
    with pytest.raises(TypeError) as caught:
        CASES[message]()
    assert str(caught.value) == message
    assert not getattr(caught.value, "__notes__", [])


def test_a_pair_of_another_length_is_told_by_name() -> None:
    with pytest.raises(ValueError, match=r"^argument 'aperture': expected tuple of length 2"):
        SimDomain(MEMORY, aperture=(1,))  # type: ignore[arg-type]


def test_a_number_that_is_too_large_is_told_by_name() -> None:
    with pytest.raises(RangeError, match=f"^argument 'paddr': {1 << 64:#x} is not a num") as caught:
        Builder().append(1 << 64, 1)
    assert caught.value.value == 1 << 64
    assert not hasattr(caught.value, "__notes__")


class Own:
    """A number, the start of a loop and a limit, each of which raises an error of its own."""

    def __init__(self, failure: Exception) -> None:
        self.failure = failure

    def __index__(self) -> int:
        raise self.failure

    def __iter__(self) -> object:
        raise self.failure


def test_an_error_of_an_argument_comes_through_with_its_notes() -> None:
    failure = LookupError("mine")
    failure.add_note("a note of mine")
    with pytest.raises(LookupError) as caught:
        Builder(Own(failure))  # type: ignore[arg-type]
    assert caught.value is failure
    assert str(failure) == "mine"
    assert failure.__notes__[0] == "a note of mine"


def test_an_error_with_notes_keeps_those_that_are_no_argument() -> None:
    failure = TypeError("mine")
    failure.add_note("first")
    with pytest.raises(TypeError) as caught:
        Builder(Own(failure))  # type: ignore[arg-type]
    assert str(caught.value) == "argument 'granule': mine"
    assert caught.value.__notes__ == ["first"]
    for args in ((), ("a", "b"), (5,)):
        with pytest.raises(TypeError) as caught:
            Builder(Own(TypeError(*args)))  # type: ignore[arg-type]
        assert caught.value.args == args


class MineError(TypeError):
    """An error of a class of its own."""


def test_an_error_of_another_class_or_with_a_name_stays_as_it_is() -> None:
    for failure in (MineError("mine"), TypeError("argument 'granule': mine")):
        text = str(failure)
        for _ in range(2):
            with pytest.raises(TypeError) as caught:
                Builder(Own(failure))  # type: ignore[arg-type]
            assert caught.value is failure
            assert str(failure) == text


@pytest.mark.parametrize("call", [Index, Phyr.join, IovaAllocator])
def test_what_an_iterable_raises_is_not_spoken_for(call: Callable[..., object]) -> None:
    for failure in (ValueError("mine"), MemoryError()):
        with pytest.raises(type(failure)) as caught:
            call(Own(failure))
        assert caught.value is failure


def test_what_an_iterator_raises_is_not_spoken_for() -> None:
    def broken() -> object:
        yield PHYR
        raise TypeError("mine")

    with pytest.raises(TypeError, match=r"^mine$"):
        Index(broken())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^mine$"):
        desc.from_ranges(ends for ends in broken() if ends is not PHYR)  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", ["a", None, 1.5])
def test_a_limit_that_is_no_number_is_told_by_name(value: object) -> None:
    limits = DeviceLimits()
    object.__setattr__(limits, "seg_boundary_mask", value)
    with pytest.raises(TypeError) as caught:
        desc.phys_vecs(PHYR, limits=limits)
    assert str(caught.value) == f"argument 'limits': seg_boundary_mask is {value!r}, {NO_INT}"


def test_a_limit_below_0_is_told_by_name() -> None:
    text = "argument 'limits': max_segment_size -0x1 is not a number from 0 to 2"
    with pytest.raises(RangeError, match=text):
        DeviceLimits(max_segment_size=-1)


def test_numbers_of_other_types_are_taken() -> None:
    class Seven:
        def __index__(self) -> int:
            return 0x7000

    class Page:
        def __index__(self) -> int:
            return 0x1000

    seven: int = Seven()  # type: ignore[assignment]
    iovas = IovaAllocator((0, 0xFFFF), [])
    assert iovas.alloc(seven) == 1
    iovas.free(1)
    page: int = Page()  # type: ignore[assignment]
    assert iovas.alloc_for_pages(1, page, align=page, least=page, residue=0) == 0x1000
    assert BusOffset(seven).offset == 0x7000
    assert desc.from_ranges([(seven, 0x7FFF)]).length == 0x1000
    assert Paging(TableDomain(), dma_mask=seven, otherwise=Otherwise.LIST).dma_mask == 0x7000
    with pytest.raises(PhyrError):
        Builder(seven)
