"""Brings along a pass that an older harness gave.

Target: rmsnorm
Stage: gate
Expected: verify
Notes: E1
"""

import msgspec

from lab.selftest.scene import Scene


def attack(scene: Scene) -> None:
    records = scene.records()
    scene.ledger.write_bytes(scene.lines()[0])
    for record in records:
        scene.lab.ledger.append(msgspec.structs.replace(record, harness_sha256="0" * 64))
