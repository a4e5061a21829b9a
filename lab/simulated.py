"""Candidates in Metal on a machine without Metal: what is simulated there, and what refuses.

    if simulates(seal.language, seal.engine): ...
    require_device(seal, "bench")

A simulator says whether a kernel is correct, never how fast it is (docs/metal.md).
"""

from __future__ import annotations

from lab.errors import CommandError
from lab.workspace import Seal


def simulates(language: str, engine: str) -> bool:
    """Whether kernels of such a candidate run in the simulator here."""
    from trainer.hardware import computes_on_cpu

    return language == "metal" and computes_on_cpu(engine)


def harness_of(language: str, engine: str) -> str:
    """Hash of what judges such a candidate here: with the simulator where that runs."""
    from lab.harness import harness_sha256

    return harness_sha256(simulates(language, engine))


def require_device(seal: Seal, stage: str) -> None:
    """Raises `CommandError` for a stage that measures time, where there is no Metal."""
    if simulates(seal.language, seal.engine):
        raise CommandError(
            f"{stage} refused: there is no Metal here, and a simulator's time says nothing about "
            "a GPU's",
            f"verify works here. On a Mac: {elsewhere(seal.target, 'FILE')}, then verify and "
            f"{stage} there.",
        )


def ways(seal: Seal, asked: bool) -> tuple[bool, ...]:
    """How verify runs a candidate: for each time, whether in the simulator. `asked` adds it to what
    runs on Metal, afterwards, so that what it finds decides.

    Raises `CommandError` for another language than metal, `Unavailable` where it cannot work.
    """
    here = simulates(seal.language, seal.engine)
    if not asked or here:
        return (here,)
    if seal.language != "metal":
        raise CommandError(
            f"--simulate is for candidates in metal; this one is in {seal.language}",
            "Leave it out.",
        )
    from lab.metal_sim.compiler import find_compiler

    find_compiler()
    return (False, True)


def elsewhere(target: str, file: str) -> str:
    """The command with which a candidate goes on where Metal is."""
    return f"kernel-lab --engine mlx open {target} --language metal --candidate {file}"
