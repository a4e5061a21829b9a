"""Brings along evidence that was made on a larger machine.

Target: rmsnorm
Stage: gate
Expected: bench
Notes: B28
"""

import msgspec

from lab.selftest.scene import Scene


def attack(scene: Scene) -> None:
    records = scene.records()
    scene.ledger.write_bytes(scene.lines()[0])
    for record in records:
        elsewhere = msgspec.structs.replace(record.machine, hardware="a larger machine")
        scene.lab.ledger.append(msgspec.structs.replace(record, machine=elsewhere))
