"""The power state of a PCI function."""

import errno
import time
from collections.abc import Callable

from phyr._devices.uapi import refused
from phyr.errors import RangeError
from phyr.pci.config import Config

__all__ = ["STATES", "power_state", "set_power_state"]

STATES = ("D0", "D1", "D2", "D3hot")
_POWER_MANAGEMENT = 0x01
_CONTROL = 4
_STATE = 3
# The specification gives a function 10 ms to leave D3hot; a reset may take longer.
_SECONDS = 1.0


def _control(config: Config) -> int | None:
    """Return where the control register of power management is, if there is one."""
    found = (each for each in config.capabilities() if each.id == _POWER_MANAGEMENT)
    return next((each.offset + _CONTROL for each in found if not each.is_extended), None)


def power_state(config: Config) -> str:
    """Return the power state; of a function that cannot change it, D0."""
    at = _control(config)
    return STATES[0 if at is None else config.read_int(at, 2) & _STATE]


def set_power_state(
    config: Config, state: str, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Change the power state, and wait until it is changed.

    Raises:
        RangeError: There is no such state.
        VfioError: The function cannot change its state, or does not.

    Source:
        PCI Bus Power Management Interface Specification 1.2, section 3.2.4.
    """
    if state not in STATES:
        raise RangeError(f"power state {state!r} is none of {', '.join(STATES)}", state=state)
    wanted = STATES.index(state)
    at = _control(config)
    if at is None:
        if wanted == 0:
            return
        raise refused(OSError(errno.EOPNOTSUPP, ""), "power state", state=state)
    value = config.read_int(at, 2)
    if value & _STATE == wanted:
        return
    config.write_int(at, 2, value & ~_STATE | wanted)
    waited = 0.0
    while config.read_int(at, 2) & _STATE != wanted:
        if waited > _SECONDS:
            raise refused(OSError(errno.EIO, ""), "power state", state=state)
        sleep(0.01)
        waited += 0.01
