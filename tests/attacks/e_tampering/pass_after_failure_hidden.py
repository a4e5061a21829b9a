"""Fails verification in one run and hopes that the earlier pass stands.

Target: rmsnorm
Stage: gate
Expected: verify
Notes: F6
"""

import msgspec

from lab.outcomes import Failed
from lab.selftest.scene import Scene


def attack(scene: Scene) -> None:
    verified = scene.records()[0]
    failed = Failed(reason="numeric", detail="y is off")
    scene.lab.ledger.append(msgspec.structs.replace(verified, outcome=failed))
