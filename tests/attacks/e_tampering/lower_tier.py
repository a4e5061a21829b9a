"""Offers what a simulator said as if it were evidence of the device.

Target: rmsnorm
Stage: gate
Expected: verify
Notes: B28
"""

import msgspec

from lab.selftest.scene import Scene


def attack(scene: Scene) -> None:
    verified = scene.records()[0]
    rest = scene.records()[1:]
    scene.ledger.write_bytes(scene.lines()[0])
    scene.lab.ledger.append(msgspec.structs.replace(verified, tier="simulated"))
    for record in rest:
        scene.lab.ledger.append(record)
