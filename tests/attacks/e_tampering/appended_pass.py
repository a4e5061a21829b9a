"""Edits the candidate and appends a forged pass for it through the lab's own ledger code.

A pass means that whoever may write to the results folder can make up evidence.

Target: rmsnorm
Stage: gate
Expected: verify
Notes: E13
"""

import hashlib

import msgspec

from lab.selftest.scene import Scene


def attack(scene: Scene) -> None:
    records = scene.records()
    scene.candidate.write_text("def rmsnorm(x, eps):\n    return x\n")
    digest = hashlib.sha256(scene.candidate.read_bytes()).hexdigest()
    for record in records:
        scene.lab.ledger.append(msgspec.structs.replace(record, candidate_sha256=digest))
