"""The words for isolations, which of them count as evidence, and doing without one.

    confines("namespaces+seccomp")   # True
    with without_sandbox(): ...      # what `kernel-lab --no-sandbox` does

A record names the isolation that its candidate ran in: one of `CONFINING`, with `+seccomp` where
system calls were filtered as well, or `none`. `lab.harness.sandbox` makes them; here is only what
the command line, the harness and the gate must agree on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

CONFINING = ("bubblewrap", "namespaces", "seatbelt")
"""Strongest first; the first that works is used."""
NONE = "none"
"""A child process with limits that sees the network, the disk and its judge."""
FORCE = "KERNEL_LAB_ISOLATION"
"""Environment variable that names the isolation to use instead of the strongest."""


def confines(recorded: str) -> bool:
    """Whether a record's isolation kept the candidate away from its judge. Unknown words do not."""
    return recorded.partition("+")[0] in CONFINING


def forgone() -> bool:
    """Whether candidates are to run without a sandbox, by flag or environment."""
    return os.environ.get(FORCE) == NONE


@contextmanager
def without_sandbox() -> Iterator[None]:
    """Candidates run without a sandbox, in child processes of the lab as well; recorded `none`."""
    before = os.environ.get(FORCE)
    os.environ[FORCE] = NONE
    try:
        yield
    finally:
        if before is None:
            del os.environ[FORCE]
        else:
            os.environ[FORCE] = before
