"""The command register of a PCI function: bits that switch its parts on."""

from phyr.pci.config import Config

__all__ = ["MASTER", "MEMORY", "is_on", "switch"]

_COMMAND = 0x04
MEMORY = 1 << 1
"""It answers at the addresses of its memory."""
MASTER = 1 << 2
"""It may do DMA."""


def is_on(config: Config, bit: int) -> bool:
    """Return true if a bit is set."""
    return bool(config.read_int(_COMMAND, 1) & bit)


def switch(config: Config, bit: int, *, on: bool) -> None:
    """Set a bit, or clear it."""
    command = config.read_int(_COMMAND, 1) & ~bit
    config.write_int(_COMMAND, 1, command | bit * on)
