"""Arrays that lend no buffer are pinned by DLPack or `__array_interface__`.

NumPy exports both; a wrapper hides its buffer, as PyTorch's tensors have none. (Those are in
test_torch.py.) A device's tensor is played by a stand-in.
"""

import ctypes
import gc
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import phyr
from phyr import ArrayError, ArrayTypeError
from phyr.pinning.tensors import Exported
from support.live import shown, uring

ITEMS = ["u1", "<i2", "<f4", "<f8", "<c16"]


class Tensor:
    """An array that exports itself by DLPack, and has no buffer."""

    def __init__(
        self, array: Any, *, device: tuple[int, int] = (1, 0), plain: bool = False
    ) -> None:
        self.array, self.device, self.plain = array, device, plain

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, **versions: object) -> object:
        if self.plain and versions:
            raise TypeError("no such argument")
        if callable(self.array):
            return self.array()
        return self.array.__dlpack__(**versions)


class Interface:
    """An array that has its interface, and neither DLPack nor a buffer."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = array
        self.__array_interface__ = array.__array_interface__


@given(st.lists(st.integers(0, 5), max_size=4), st.sampled_from(ITEMS), st.randoms(), st.booleans())
def test_an_array_lies_where_numpy_says(
    shape: list[int],
    item: str,
    rng: Any,
    plain: bool,  # noqa: FBT001 - drawn
) -> None:
    whole = np.zeros(shape, item)
    array = whole.transpose(rng.sample(range(len(shape)), len(shape)))
    for exported in (Tensor(array, plain=plain), Interface(array)):
        with Exported(exported) as (uaddr, length):
            assert length == array.nbytes
            assert uaddr == array.__array_interface__["data"][0] or not length


@pytest.mark.parametrize("cut", [np.s_[::2], np.s_[:, 1:], np.s_[::-1], np.s_[:, :, ::3]])
def test_an_array_with_holes_is_refused(cut: Any) -> None:
    array = np.zeros((4, 6, 8), "u4")[cut]
    for exported in (Tensor(array), Tensor(array, plain=True), Interface(array)):
        with pytest.raises(ArrayError, match="not contiguous"):
            Exported(exported)


def test_a_part_of_an_array_starts_behind_the_start_of_it() -> None:
    array = np.zeros((4, 6), "u4")
    with Exported(Tensor(array[2])) as (uaddr, length):
        assert (uaddr - array.ctypes.data, length) == (48, 24)


def test_a_read_only_array_says_so() -> None:
    array = np.zeros(5)
    array.flags.writeable = False
    for exported in (Tensor(array), Interface(array)):
        assert Exported(exported).readonly
        with pytest.raises(ArrayError, match="read-only"):
            phyr.pin(exported)
    assert not Exported(Tensor(np.zeros(5))).readonly


@pytest.mark.parametrize(
    ("device", "name"), [((2, 1), "cuda:1"), ((10, 0), "rocm:0"), ((77, 3), "type 77:3")]
)
def test_memory_of_a_device_is_refused_by_name(device: tuple[int, int], name: str) -> None:
    tensor = Tensor(lambda: pytest.fail("a device's tensor was exported"), device=device)
    with pytest.raises(ArrayError, match=name) as caught:
        phyr.pin(tensor)
    assert vars(caught.value) == {"device_type": device[0], "device_id": device[1]}


def test_what_exports_nothing_is_no_array() -> None:
    for thing in (5, "text", object()):
        with pytest.raises(ArrayTypeError, match="has no buffer"):
            phyr.pin(thing)
    with pytest.raises(ArrayTypeError, match="is no array"):
        Exported(object())


def test_an_export_that_is_no_tensor_is_refused() -> None:
    with pytest.raises(ArrayTypeError, match="which is no tensor"):
        Exported(Tensor(lambda: 5))


def test_an_export_of_an_unknown_version_is_refused() -> None:
    array = np.zeros(5)

    def other() -> object:
        capsule = array.__dlpack__(max_version=(1, 0))
        api = ctypes.pythonapi
        api.PyCapsule_GetPointer.restype = ctypes.c_void_p
        api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
        place = api.PyCapsule_GetPointer(capsule, b"dltensor_versioned")
        ctypes.c_uint32.from_address(place).value = 2
        return capsule

    with pytest.raises(ArrayTypeError, match=r"DLPack 2\.\d is not known"):
        Exported(Tensor(other))


def test_what_the_array_raises_comes_through() -> None:
    def refuses() -> object:
        raise BufferError("this tensor has a gradient")

    with pytest.raises(BufferError, match="gradient"):
        phyr.pin(Tensor(refuses))


@shown
@uring
def test_a_tensor_is_pinned_and_kept_until_it_is_unpinned() -> None:
    array = np.zeros((300, 1000), "f4")
    alive = weakref.ref(array)
    with phyr.pin(Tensor(array)) as pinned, phyr.pin(Interface(array)) as other:
        assert pinned.phyr == other.phyr
        assert (pinned.uaddr, pinned.length) == (array.ctypes.data, array.nbytes)
        del array
        gc.collect()
        assert alive() is not None
        assert pinned.moved() is None
    gc.collect()
    assert alive() is None
