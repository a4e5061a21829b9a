"""Swaps two lines, so that an earlier pass becomes the latest word.

Target: rmsnorm
Stage: ledger
Expected: broken
Notes: E11
"""

from lab.selftest.scene import Scene


def attack(scene: Scene) -> None:
    first, verified, benched, *rest = scene.lines()
    scene.write([first, benched, verified, *rest])
