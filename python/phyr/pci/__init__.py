"""PCI functions: bind one to a driver and back, and open it. Only what DMA needs.

`bound` binds a function to ``vfio-pci`` for the length of a ``with``. A backend of `phyr.vfio` or
`phyr.iommufd` then opens it as a `Device`. `Function.open` opens one without VFIO.

``docs/real-devices.md`` says what to enable, and which dangers there are. Linux only.
"""

from phyr.pci.config import Capability, Config, Registers
from phyr.pci.device import Device, Region
from phyr.pci.function import Function, bound
from phyr.pci.irqs import Irq, Irqs

__all__ = [
    "Capability",
    "Config",
    "Device",
    "Function",
    "Irq",
    "Irqs",
    "Region",
    "Registers",
    "bound",
]
