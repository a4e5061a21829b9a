"""Has the A/B train a preset in which the op is a larger part of the step than in its own.

Target: rmsnorm
Stage: gate
Expected: ab
Notes: F6
"""

import msgspec

from lab.selftest.scene import Scene


def attack(scene: Scene) -> None:
    tried = scene.records()[-1]
    outcome = msgspec.structs.replace(tried.outcome, preset="m5-tiny")
    scene.lab.ledger.append(msgspec.structs.replace(tried, outcome=outcome))
