"""Verifies one candidate and then puts another one in its place.

Target: rmsnorm
Stage: gate
Expected: verify
Notes: E24
"""

from lab.selftest.scene import Scene


def attack(scene: Scene) -> None:
    scene.candidate.write_text("def rmsnorm(x, eps):\n    return x\n")
