"""Lets OpenMP's threads on Linux sleep soon after they run out of work, as the cores are shared.

By default a thread of torch's GNU OpenMP spins for a long while at the end of each parallel region.
On cores that others use, too, the spinning thread keeps its sibling from finishing: measured on two
cores with other work coming and going, runs taking turns, a step of the `tour` preset took 1 to 17
times as long as on a free machine; with 1,000 spins it took 1.0 to 1.1 times.
"""

from __future__ import annotations

import os

SPIN_COUNT = "1000"


def share_cores() -> None:
    """Call it before torch is imported; later it does nothing. The user's own setting stays."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
