"""Edits a line and computes every later link anew, so that the chain is whole again.

Caught only where somebody noted the ledger's head elsewhere, as `ledger verify` advises.

Target: rmsnorm
Stage: ledger
Expected: broken
Notes: E13
"""

from lab.selftest.scene import Scene


def attack(scene: Scene) -> None:
    lines = scene.lines()
    lines[1] = lines[1].replace(b'"allowed_max":1.0', b'"allowed_max":999.0')
    scene.write(scene.rechained(lines))
