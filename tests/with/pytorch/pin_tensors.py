"""Pins tensors of PyTorch, and refuses those that no pin can take; prints what it looked at.

It runs in a Python that has PyTorch: on Debian /usr/bin/python3, with the package python3-torch.
"""

import ctypes
import gc
import json
import weakref
from collections.abc import Callable

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

import phyr
import phyr.pagemap

PINNED = {
    "a matrix": lambda: torch.rand(300, 1000),
    "its transpose": lambda: torch.rand(300, 1000).T,
    "channels last": lambda: torch.rand(2, 3, 64, 64).to(memory_format=torch.channels_last),
    "a part": lambda: torch.rand(8, 512)[3:5],
    "bfloat16": lambda: torch.zeros(5000, dtype=torch.bfloat16),
    "complex": lambda: torch.zeros(700, dtype=torch.complex64),
    "of 0 axes": lambda: torch.tensor(7),
}


def on_cuda() -> torch.Tensor:
    """Return PyTorch's own stand-in for a tensor of a GPU."""
    return FakeTensor(FakeTensorMode(), torch.empty(4, device="meta"), torch.device("cuda:1"))


REFUSED: dict[str, Callable[[], torch.Tensor]] = {
    "a device's": on_cuda,
    "nowhere": lambda: torch.zeros(4, device="meta"),
    "columns": lambda: torch.zeros(4, 4)[:, 1:],
    "with a gradient": lambda: torch.zeros(4, requires_grad=True),
}


def pinned(make: Callable[[], torch.Tensor]) -> dict[str, bool]:
    """Pin a tensor, and return what is true of it."""
    tensor = make()
    place, size = tensor.data_ptr(), tensor.numel() * tensor.element_size()
    data, alive = ctypes.string_at(place, size), weakref.ref(tensor)
    with phyr.pin(tensor) as pin:
        facts = {
            "place": (pin.uaddr, pin.length) == (place, size),
            "list": phyr.pagemap.of((place, size)) == pin.phyr,
            "stays": pin.moved() is None,
        }
        del tensor
        gc.collect()
        others = [torch.ones(size, dtype=torch.uint8) for _ in range(10)]
        facts["kept"] = ctypes.string_at(place, size) == data and pin.moved() is None
        del others
    del pin
    gc.collect()
    facts["freed"] = alive() is None
    return facts


def reason(make: Callable[[], torch.Tensor]) -> str:
    """Return why a tensor is refused."""
    try:
        phyr.pin(make())
    except Exception as error:  # noqa: BLE001 - PyTorch's own, some of them
        return f"{type(error).__name__}: {error}"
    return "it was pinned"


print(
    json.dumps(
        {
            "version": torch.__version__,
            "pinned": {name: pinned(make) for name, make in PINNED.items()},
            "refused": {name: reason(make) for name, make in REFUSED.items()},
        }
    )
)
