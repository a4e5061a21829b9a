"""Repeats the luckiest pair of an A/B until its interval is narrow.

Target: rmsnorm
Stage: gate
Expected: ab
Notes: F5
"""

import msgspec

from lab.selftest.scene import Scene


def attack(scene: Scene) -> None:
    tried = scene.records()[-1]
    lucky = min(tried.outcome.pairs, key=lambda pair: pair.candidate.step_ms)
    outcome = msgspec.structs.replace(tried.outcome, pairs=(lucky,) * 5)
    scene.lab.ledger.append(msgspec.structs.replace(tried, outcome=outcome))
