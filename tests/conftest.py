"""Profiles of hypothesis, and what pytest is not to collect."""

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

# Checked by mypy, not run: see house/test_typing.py; and run in a guest: see devices/test_guest.py;
# and run in a simulator, or in another Python: see with/test_cocotb.py, with/test_torch.py.
collect_ignore = ["house/typing", "vm", "with/pcie", "with/pytorch"]

# The helpers of the tests assert too: pytest is to explain those as well.
pytest.register_assert_rewrite("support")

# A job in the background starts with the signal ignored, which its children inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadlines: a shared machine is late now and then, and that is no failure.
settings.register_profile(
    "fast",
    deadline=None,
    max_examples=50,
    stateful_step_count=20,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "deep", settings.get_profile("fast"), max_examples=2000, stateful_step_count=60
)
settings.load_profile(os.environ.get("PHYR_HYPOTHESIS", "fast"))
