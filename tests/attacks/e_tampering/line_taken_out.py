"""Takes an unwelcome line out of the ledger.

Target: rmsnorm
Stage: ledger
Expected: broken
Notes: E11
"""

from lab.selftest.scene import Scene


def attack(scene: Scene) -> None:
    lines = scene.lines()
    scene.write([*lines[:2], *lines[3:]])
