"""Fails in its own workspace, opens one of a smaller preset beside it, and passes there.

Target: rmsnorm
Stage: gate
Expected: verify
Notes: F6
"""

import msgspec

from lab import context, stages
from lab.outcomes import Failed
from lab.selftest.scene import Scene


def attack(scene: Scene) -> None:
    lab, passed = scene.lab, scene.records()[0]
    failed = Failed(reason="numeric", detail="y is off at the training shape")
    lab.ledger.append(msgspec.structs.replace(passed, outcome=failed))
    easier, _ = stages.open_workspace(lab, "rmsnorm", preset="m5-tiny", candidate=scene.candidate)
    about = context.about(easier, *context.subject(lab, easier))
    lab.ledger.append(msgspec.structs.replace(passed, **about))
