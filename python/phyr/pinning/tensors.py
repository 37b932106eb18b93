"""The memory of arrays that have no buffer protocol: DLPack, and NumPy's array interface.

PyTorch's tensors, and those of most libraries beside it, export themselves by DLPack. Memory of a
device is refused: the kernel pins what the processor reaches.

Source:
    ``dlpack.h``, DLPack 1.1; the array interface protocol, version 3, NumPy.
"""

import ctypes
import re
from enum import IntEnum
from itertools import pairwise
from operator import index
from struct import Struct
from typing import Any

from phyr.errors import ArrayError, ArrayTypeError

__all__ = ["Exported"]

_CPU = 1
_READ_ONLY = 1
# DLTensor: data, device's type and number, ndim, code, bits, lanes, shape, strides, byte_offset.
_TENSOR = Struct("@PiiiBBHPPQ")
# DLManagedTensorVersioned: major, minor, manager, deleter, flags; then the tensor.
_VERSIONED = Struct("@IIPPQ")
# Of an item in the array interface: byte order, kind, and bytes or, of some kinds, characters; then
# the unit of a time.
_TYPE = re.compile(r"[<>|=]([a-zA-Z])(\d+)(?:\[.*\])?")
_UNITS = {"U": 4}


class _DeviceType(IntEnum):
    """The places of a tensor; the names are those of ``dlpack.h``."""

    CPU = 1
    CUDA = 2
    CUDA_HOST = 3
    OPENCL = 4
    VULKAN = 7
    METAL = 8
    VPI = 9
    ROCM = 10
    ROCM_HOST = 11
    CUDA_MANAGED = 13
    ONE_API = 14
    WEB_GPU = 15
    HEXAGON = 16
    MAIA = 17


class Exported:
    """Hold an array's memory and return its address; a pin uses it like a loan of a buffer.

    Args:
        array: What exports memory, by ``__dlpack__`` or ``__array_interface__``.

    Raises:
        ArrayTypeError: It exports none, or in a way that is not known.
        ArrayError: The memory is a device's, or not contiguous.
        Exception: The array's own.

    Examples:
        >>> import numpy
        >>> with Exported(numpy.zeros((3, 4), "u2")) as (uaddr, length):
        ...     uaddr > 0, length
        (True, 24)
    """

    readonly: bool
    """True if the owner forbids writing to it."""

    def __init__(self, array: Any) -> None:  # noqa: ANN401 - anybody's
        """Let the array export its memory."""
        # The capsule, or the array, keeps the memory alive. Dropping the capsule releases it.
        self._kept: object
        if hasattr(array, "__array_interface__"):
            self._kept, place = array, _by_interface(array)
        elif hasattr(array, "__dlpack__"):
            self._kept, place = _by_dlpack(array)
        else:
            raise ArrayTypeError(f"{type(array)} has no buffer, and is no array")
        self.uaddr, self.length, self.readonly = place

    def __enter__(self) -> tuple[int, int]:
        """Return the user virtual address of the first byte, and the length in bytes."""
        return self.uaddr, self.length

    def __exit__(self, *_: object) -> None:
        """Release the memory."""
        self._kept = None


def _by_dlpack(array: Any) -> tuple[object, tuple[int, int, bool]]:  # noqa: ANN401 - anybody's
    """Have an array export a capsule; return it, the address, the length and if it is read-only."""
    if not hasattr(array, "__dlpack_device__"):
        raise ArrayTypeError(f"{type(array)} has __dlpack__ and no __dlpack_device__")
    answer = array.__dlpack_device__()
    try:
        device_type, device_id = map(index, answer)
    except (TypeError, ValueError):
        text = f"{type(array)}.__dlpack_device__() gave {answer!r:.80}, which is no device"
        raise ArrayTypeError(text) from None
    if device_type != _CPU:
        try:
            name = _DeviceType(device_type).name.lower()
        except ValueError:
            name = f"type {int(device_type)}"
        text = f"{type(array)} is in the memory of device {name}:{device_id}, not the processor's"
        raise ArrayError(text, device_type=int(device_type), device_id=int(device_id))
    try:
        capsule = array.__dlpack__(max_version=(1, 1))
    except TypeError:  # of before version 1
        capsule = array.__dlpack__()
    api = ctypes.pythonapi
    api.PyCapsule_IsValid.argtypes = api.PyCapsule_GetPointer.argtypes = [
        ctypes.py_object,
        ctypes.c_char_p,
    ]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    flags = 0
    if api.PyCapsule_IsValid(capsule, b"dltensor_versioned"):
        at = api.PyCapsule_GetPointer(capsule, b"dltensor_versioned")
        major, minor, _, _, flags = _VERSIONED.unpack(ctypes.string_at(at, _VERSIONED.size))
        if major != 1:
            text = f"DLPack {major}.{minor} is not known"
            raise ArrayTypeError(text, major=major, minor=minor)
        at += _VERSIONED.size
    elif api.PyCapsule_IsValid(capsule, b"dltensor"):
        at = api.PyCapsule_GetPointer(capsule, b"dltensor")
    else:
        raise ArrayTypeError(f"{type(array)}.__dlpack__() gave {capsule!r}, which is no tensor")
    data, _, _, ndim, _, bits, lanes, shape_at, strides_at, offset = _TENSOR.unpack(
        ctypes.string_at(at, _TENSOR.size)
    )
    numbers = ctypes.c_int64 * ndim
    shape = list(numbers.from_address(shape_at)) if ndim else []
    strides = list(numbers.from_address(strides_at)) if ndim and strides_at else None
    length = (_items(type(array), shape, strides, 1) * bits * lanes + 7) // 8
    return capsule, (data + offset, length, bool(flags & _READ_ONLY))


def _by_interface(array: Any) -> tuple[int, int, bool]:  # noqa: ANN401 - anybody's
    """Return the address, the length, and if it is read-only, from an array interface."""
    interface = array.__array_interface__
    try:
        data, strides = interface["data"], interface.get("strides")
        # A buffer may stand there as well, whose first bytes are no address.
        found = _TYPE.fullmatch(interface["typestr"]) if isinstance(data, tuple) else None
        uaddr, readonly = map(index, data)
        shape = tuple(map(index, interface["shape"]))
        strides = None if strides is None else tuple(map(index, strides))
    except (TypeError, ValueError, KeyError):
        found = None
    if not found or min(shape, default=0) < 0 or len(shape) != len(strides or shape):
        text = f"the array interface of {type(array)} is none of version 3: {interface!r:.300}"
        raise ArrayTypeError(text)
    item = int(found[2]) * _UNITS.get(found[1], 1)
    return uaddr, _items(type(array), shape, strides, item) * item, bool(readonly)


def _items(kind: type, shape: Any, strides: Any, step: int) -> int:  # noqa: ANN401 - of numbers
    """Count the items of an array, which must lie in one stretch, in whatever order.

    Strides count in units of which an item is `step`; None are those of C.
    """
    count = 1
    for extent in shape:
        count *= extent
    if strides is not None and count:
        found = sorted(
            (at, extent) for at, extent in zip(strides, shape, strict=True) if extent > 1
        )
        wanted = [(step, 1), *found]
        if any(at != before * extent for (before, extent), (at, _) in pairwise(wanted)):
            text = f"the memory of {kind} is not contiguous: shape {shape}, strides {strides}"
            raise ArrayError(text, shape=tuple(shape), strides=tuple(strides))
    return count
