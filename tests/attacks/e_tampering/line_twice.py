"""Repeats a lucky line at the end.

Target: rmsnorm
Stage: ledger
Expected: broken
Notes: F5
"""

from lab.selftest.scene import Scene


def attack(scene: Scene) -> None:
    lines = scene.lines()
    scene.write([*lines, lines[2]])
