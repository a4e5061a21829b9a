"""Stage 7: a candidate that the gate let in becomes the incumbent, and can be taken back.

`promote` takes the verdict of just now, replays it from the whole ledger, and enters the very
bytes that were judged into the registry; the next training run on this engine and hardware uses
them. Reviewing a promotion is reading that diff. `demote` takes the entry out. Both leave a record.
Never runs candidate code.
"""

from __future__ import annotations

from lab import registry
from lab.context import Lab, about, subject, target_folder
from lab.errors import CandidateError, MachineError
from lab.records import Demoted, Judged, Promoted
from lab.workspace import Workspace


def promote(lab: Lab, workspace: Workspace, judged: Judged) -> Promoted:
    """Makes the candidate the incumbent. `judged` is the gate's verdict of just now."""
    from kernels.spec import KERNELS
    from trainer.hardware import hardware_key
    from trainer.ops import Promotion

    if judged.verdict.decision != "promote":
        unmet = "; ".join(f"{r.rule}: {r.detail}" for r in judged.verdict.reasons if not r.holds)
        raise CandidateError(
            f"the gate says {judged.verdict.decision}, so nothing was promoted. {unmet}",
            f"See: kernel-lab gate {workspace.name}",
        )
    _replay(lab, judged)
    folder, stored = subject(lab, workspace)
    if stored.sha256 != judged.candidate_sha256:
        raise CandidateError("candidate.py changed while it was being promoted", "Verify it anew.")
    seal = workspace.seal
    file = registry.promoted_file(lab.places.registry, KERNELS, seal.target, stored.sha256)
    entry = registry.add(
        lab.places.registry,
        file,
        stored,
        Promotion(
            op=seal.target,
            engine=seal.engine,
            hardware=hardware_key(seal.engine),
            candidate_sha256=stored.sha256,
            file="",
            ledger_ids=(*judged.evidence, judged.id),
        ),
    )
    record = Promoted(
        **about(workspace, folder, stored),
        verdict_id=judged.id,
        file=entry.file,
    )
    return lab.ledger.append(record)


def _replay(lab: Lab, judged: Judged) -> None:
    """Reaches the verdict again from the whole ledger, its chain checked, by way of no index."""
    from lab.replay import replay

    found = replay(lab.ledger, judged.id)
    if not found.same:
        differs = ", ".join(difference.what for difference in found.differences)
        raise MachineError(
            f"read from the whole ledger, the verdict does not come out again ({differs}), so "
            "nothing was promoted",
            f"See: kernel-lab gate --replay {judged.id}. If the index of the ledger was changed, "
            f"delete it: {lab.ledger.path}.index.sqlite3",
        )


def demote(lab: Lab, target: str, why: str) -> Demoted:
    """Takes back the promotion of `target` on this engine and hardware."""
    from lab.machine import fingerprint
    from trainer.hardware import hardware_key

    target_folder(target)
    gone = registry.remove(lab.places.registry, target, lab.engine, hardware_key(lab.engine))
    record = Demoted(
        machine=fingerprint(lab.engine),
        target=target,
        engine=lab.engine,
        candidate_sha256=gone.candidate_sha256,
        why=why,
    )
    return lab.ledger.append(record)
