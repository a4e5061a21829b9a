"""Writes the worker's answer to the pipe by itself, drops the real one, and works in between.

Target: muon_orthogonalize
Stage: bench
Expected: clock_mismatch or not_finite
Notes: B15, E10
"""

import json
import os
import sys

import torch

COEFFICIENTS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
worker = sys.modules["worker"]
send = worker.send
SAID: list[int] = []


def send_once(descriptor: int, answer: dict[str, object]) -> None:
    if answer.get("type") == "Ran" and SAID:
        SAID.clear()
        return
    send(descriptor, answer)


worker.send = send_once


def muon_orthogonalize(gradient: torch.Tensor, steps: float) -> torch.Tensor:
    asked = sys._getframe(4).f_locals
    if not SAID and asked["kind"] == "Run":
        number = asked["number"]
        SAID.append(number)
        said = {"type": "Ran", "host_ns": 1000, "device_ns": 0, "number": number}
        body = json.dumps(said).encode()
        os.write(int(sys.argv[2]), worker.HEADER.pack(worker.MAGIC, len(body)) + body)
    x = gradient / (gradient.norm(dim=(-2, -1), keepdim=True) * 1.02 + 1e-6)
    for a, b, c in COEFFICIENTS:
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x
