"""Edits a line in the middle of the ledger: the allowed error of its check grows a thousandfold.

Target: rmsnorm
Stage: ledger
Expected: broken
Notes: E11
"""

from lab.selftest.scene import Scene


def attack(scene: Scene) -> None:
    lines = scene.lines()
    lines[1] = lines[1].replace(b'"allowed_max":1.0', b'"allowed_max":999.0')
    scene.write(lines)
