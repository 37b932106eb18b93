"""A class without a constructor says what makes its objects."""

import pickle
from collections.abc import Callable

import pytest

from phyr import Chunks, Column, FrozenPhyr, Phyr
from phyr._phyr import Table
from phyr.desc import Descriptors
from phyr.iommu import Mapping, Plan

Attempt = Callable[..., object]

MAKERS: dict[type[object], str] = {
    Phyr: "Phyr.from_chunks",
    FrozenPhyr: "freeze()",
    Chunks: "`chunks` of a list",
    Column: "`chunks.paddrs`",
    Table: "`table`",
    Plan: "phyr.iommu.plan_map",
    Mapping: "phyr.iommu.dma_map",
    Descriptors: "desc.scatterlist",
}


@pytest.mark.parametrize("cls", MAKERS)
def test_calling_the_class_names_what_makes_its_objects(cls: type[object]) -> None:
    call: Attempt = cls
    attempts: list[Attempt] = [
        call,
        lambda: call([(0, 4096)]),
        lambda: call(granule=512),
        lambda: cls.__new__(cls),
    ]
    for attempt in attempts:
        with pytest.raises(TypeError) as refused:
            attempt()
        message = str(refused.value)
        assert message.startswith(f"{cls.__module__}.{cls.__name__} has no constructor: use ")
        assert MAKERS[cls] in message


@pytest.mark.parametrize("cls", MAKERS)
def test_no_class_derives_from_it(cls: type[object]) -> None:
    with pytest.raises(TypeError, match="is not an acceptable base type"):
        type("Derived", (cls,), {})
    with pytest.raises(TypeError, match="is not safe"):
        object.__new__(cls)


def test_lists_are_unpickled_without_a_constructor() -> None:
    phyr = Phyr.from_chunks([(0x7000, 0x1000), (0x20_0000, 0x20_0000)])
    for made in [phyr, phyr.freeze()]:
        copy = pickle.loads(pickle.dumps(made))  # noqa: S301 - our own bytes
        assert copy == made
        assert isinstance(copy, type(made))
