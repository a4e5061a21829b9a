"""Inserts a record with the right link to the line before it.

Target: rmsnorm
Stage: ledger
Expected: broken
Notes: E13
"""

from lab.selftest.scene import Scene


def attack(scene: Scene) -> None:
    lines = scene.lines()
    forged = scene.rechained([*lines[:2], lines[1]])[2]
    scene.write([*lines[:2], forged, *lines[2:]])
