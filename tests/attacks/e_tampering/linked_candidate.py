"""Makes candidate.py a link to a file that changes once it was verified.

Target: rmsnorm
Stage: gate
Expected: verify
Notes: E24
"""

from lab.selftest.scene import Scene


def attack(scene: Scene) -> None:
    elsewhere = scene.workspace.folder / "another.py"
    elsewhere.write_text(scene.candidate.read_text())
    scene.candidate.unlink()
    scene.candidate.symlink_to(elsewhere)
    elsewhere.write_text("def rmsnorm(x, eps):\n    return x\n")
