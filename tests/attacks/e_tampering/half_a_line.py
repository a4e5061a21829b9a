"""Leaves half a line at the end, as a killed writer would, to hide what it said.

Target: rmsnorm
Stage: ledger
Expected: broken
Notes: E22
"""

from lab.selftest.scene import Scene


def attack(scene: Scene) -> None:
    lines = scene.lines()
    scene.write([*lines[:-1], lines[-1][: len(lines[-1]) // 2]])
