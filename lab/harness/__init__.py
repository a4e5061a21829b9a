"""Stages 3 and 4: verify and bench. A judge that knows, and sandboxed workers that run candidates.

`verify` and `bench` are the stages; `isolation` names the sandbox in force; `harness_sha256` is the
hash under which evidence of this harness counts. Importing this imports no framework.
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
