"""Records an A/B in which the candidate's arm ran some other file.

Target: rmsnorm
Stage: gate
Expected: ab
Notes: D9
"""

import msgspec

from lab.selftest.scene import Scene


def attack(scene: Scene) -> None:
    tried = scene.records()[-1]
    replace = msgspec.structs.replace
    pairs = tuple(
        replace(pair, candidate=replace(pair.candidate, ops={"rmsnorm": "f" * 64}))
        for pair in tried.outcome.pairs
    )
    outcome = replace(tried.outcome, pairs=pairs)
    scene.lab.ledger.append(replace(tried, outcome=outcome))
