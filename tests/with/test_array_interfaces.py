"""Array interfaces as NumPy has them for types that no buffer has, and broken ones."""

from typing import Any

import numpy as np
import pytest

import phyr
from phyr import ArrayError, ArrayTypeError
from phyr.pinning.tensors import Exported
from support.live import shown, uring


class Interface:
    """An object with an array interface, changed in some places."""

    def __init__(self, array: np.ndarray[Any, Any], **changes: object) -> None:
        self.array = array
        self.__array_interface__ = {**array.__array_interface__, **changes}


@pytest.mark.parametrize("item", ["M8[ns]", "m8[s]", "<U7", "S5", "V12", "?", "<c16"])
def test_a_type_of_any_size_lies_where_numpy_says(item: str) -> None:
    array = np.zeros((3, 5), item)
    with Exported(array) as (uaddr, length):
        assert (uaddr, length) == (array.ctypes.data, array.nbytes)


@shown
@uring
@pytest.mark.parametrize("array", [np.zeros(1000, "M8[ns]"), np.zeros((), "u8")])
def test_an_array_that_lends_no_buffer_is_pinned(array: np.ndarray[Any, Any]) -> None:
    with phyr.pin(array) as pinned:
        assert (pinned.uaddr, pinned.length) == (array.ctypes.data, array.nbytes)


@pytest.mark.parametrize(
    "changes",
    [
        {"data": None},
        {"data": (5,)},
        {"data": b"bytes"},
        {"data": b"\x08\0"},
        {"data": ("4096", "0")},
        {"strides": (8, 8)},
        {"strides": ("x",)},
        {"shape": (-3,)},
        {"shape": None},
        {"typestr": "u"},
        {"typestr": 8},
    ],
)
def test_an_interface_that_is_none_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ArrayTypeError, match="is none of version 3"):
        phyr.pin(Interface(np.zeros(10), **changes))


@pytest.mark.parametrize("cut", [np.s_[::2], np.s_[::-1]])
def test_strides_are_told(cut: slice) -> None:
    array = np.zeros(1000)[cut]
    shape, strides = array.shape, array.strides
    with pytest.raises(ArrayError) as caught:
        phyr.pin(array)
    assert f"shape {shape}, strides {strides}" in str(caught.value)


@pytest.mark.parametrize("answer", [3, (1,), (1, 2, 3), "xy", "10", None])
def test_a_device_that_is_none_is_refused(answer: object) -> None:
    class Tensor:
        def __dlpack__(self) -> None:
            pytest.fail("it was exported")

        def __dlpack_device__(self) -> object:
            return answer

    with pytest.raises(ArrayTypeError, match="which is no device"):
        phyr.pin(Tensor())
    del Tensor.__dlpack_device__
    with pytest.raises(ArrayTypeError, match="no __dlpack_device__"):
        phyr.pin(Tensor())


def test_a_buffer_that_is_refused_and_no_array_says_why() -> None:
    with pytest.raises(ArrayError, match="contiguous"):
        phyr.pin(memoryview(bytearray(100))[::2])
