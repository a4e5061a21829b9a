"""Cuts the last line off, a failure that nobody is to see.

Caught only where somebody noted the ledger's head elsewhere, as `ledger verify` advises.

Target: rmsnorm
Stage: ledger
Expected: broken
Notes: E11
"""

from lab.selftest.scene import Scene


def attack(scene: Scene) -> None:
    scene.write(scene.lines()[:-1])
