"""Edits workspace.json, so that the workspace asks for an easier preset.

Target: rmsnorm
Stage: seal
Expected: sealed
Notes: E1
"""

from lab.selftest.scene import Scene


def attack(scene: Scene) -> None:
    file = scene.workspace.folder / "workspace.json"
    file.chmod(0o644)
    file.write_text(file.read_text().replace('"vocab": 8192', '"vocab": 2'))
