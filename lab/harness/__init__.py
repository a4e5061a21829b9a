"""Stages 3 and 4: verify and bench. A judge that knows, and sandboxed workers that run candidates.

`verify` and `bench` are the stages; `isolation` names the sandbox in force; `harness_sha256` is the
hash under which evidence of this harness counts. Importing this imports no framework.

    the stages          verify, bench
    what it is given    shapes, inputs, families, variations, recording
    what is right       oracle, tolerances, appeal, checking, comparing, forms, probes, words
    what is faster      pace, timing, timed_outputs, clocks, one_by_one, midway, telemetry
    what it is          frameworks; sameness, behaviour, operators (no change?)
    one worker          session (asks it), protocol, worker_process, slot_memory, faults, tree
    in the sandbox      worker, torch_worker, mlx_worker, metal_shim
    the sandbox         sandbox, views, seccomp, running, jail, mounts, last_step
    the simulator       simulator (the process beside a worker; what it runs is lab.metal_sim)
    beside the stages   identity, handicaps, handicaps_mlx
"""

from lab.harness.bench import BenchSettings, bench
from lab.harness.identity import harness_sha256
from lab.harness.sandbox import isolation
from lab.harness.verify import VerifySettings, verify

__all__ = [
    "BenchSettings",
    "VerifySettings",
    "bench",
    "harness_sha256",
    "isolation",
    "verify",
]
