"""The clock of leases on one machine: nobody sets it, and it goes on while processes stop or the machine sleeps."""

import time


def machine_clock() -> float:
    """Returns the seconds since the machine's start, of one clock for all of its processes."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
