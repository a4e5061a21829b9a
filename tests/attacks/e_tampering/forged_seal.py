"""Replaces workspace.json by one that names the same workspace and another policy.

Target: rmsnorm
Stage: seal
Expected: sealed
Notes: E1
"""

import msgspec

from lab.selftest.scene import Scene


def attack(scene: Scene) -> None:
    file = scene.workspace.folder / "workspace.json"
    file.unlink()
    loose = msgspec.structs.replace(scene.workspace.seal, policy_sha256="0" * 64)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(loose), indent=2) + b"\n")
