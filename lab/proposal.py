"""Which preset and batch sizes a machine can train in five minutes, and why.

    proposal = propose(accelerator)
    print(proposal.command, proposal.reason)

The largest model is proposed that fits into memory and that gets through `STEPS` optimizer steps in
the budget. The memory and the speed of a run are predicted by two formulas whose constants were
measured, here or by upstream; they are off by tens of percent elsewhere. A proposal to start from:
nothing is decided by it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from lab.hardware import Accelerator
from trainer.config import PRESETS, TrainConfig
from trainer.flops import all_weights, flops_per_token

BUDGET_S = 300
STEPS = TrainConfig.muon_momentum_ramp_steps
"""Muon's momentum takes this many steps to its full value: with fewer a run is all beginning."""
VOCAB = 8192
MOST_HALVINGS = 2
LEAST_TOTAL_BATCH = 2**14
"""A preset's total batch may be halved so often to make more steps of the budget, and not below so
many tokens: a smaller one is another experiment."""

UTILISATION = {"cuda": 0.36, "mlx": 0.3, "cpu": 0.3}
"""Share of the peak that training reaches. cuda: upstream's example, 499.6 million tokens in 300 s
on an H100, at this trainer's count of FLOPs. cpu: the tour preset on two cores of an EPYC, 0.25 to
0.33. mlx: assumed."""

PROCESS_MIB = 600
"""Of torch and its libraries, before the first weight."""
BYTES_PER_WEIGHT = 20
"""Float32: the weight, its gradient, up to two moments, and copies in flight."""
LOGIT_COPIES = 8
CHANNEL_COPIES = 35
"""Float32 values that live at once for each token: copies of its logits, and of its channels for
each layer. Fitted with the three constants above to ten runs of the torch engine on a CPU (tour to
m5-xlarge, 3.5 to 50 million weights): within 7%."""
COMPILED = 0.21
"""Of that, what torch.compile in bfloat16 keeps: upstream's example, 45,060 MiB on an H100."""
SHARE_OF_MEMORY = {True: 0.6, False: 0.9}
"""Of memory that is shared with the CPU and the rest of the system, or the accelerator's own."""


@dataclass(frozen=True)
class Proposal:
    """A preset with batch sizes, and what is expected of it."""

    preset: str
    config: TrainConfig
    steps: int
    memory_gib: float
    reason: str

    @property
    def command(self) -> str:
        """How to train it."""
        return (
            f"uv run train.py --preset {self.preset} "
            f"--device-batch-size {self.config.device_batch_size} "
            f"--total-batch-size {self.config.total_batch_size}"
        )


def memory_gib(config: TrainConfig, engine: str) -> float:
    """Predicted peak memory of a training run."""
    tokens = config.device_batch_size * config.sequence
    values = LOGIT_COPIES * VOCAB + CHANNEL_COPIES * config.depth * config.width
    activations = 4 * tokens * values * (COMPILED if engine == "cuda" else 1.0)
    fixed = PROCESS_MIB * 2**20 + BYTES_PER_WEIGHT * all_weights(config, VOCAB)
    return (fixed + activations) / 2**30


def steps_in_budget(config: TrainConfig, accelerator: Accelerator) -> float:
    """Predicted optimizer steps in five minutes."""
    rate = accelerator.peak_tflop_s * 1e12 * UTILISATION[accelerator.engine]
    return BUDGET_S * rate / (flops_per_token(config, VOCAB) * config.total_batch_size)


def propose(accelerator: Accelerator) -> Proposal | None:
    """The largest preset that can be trained here; None where even the smallest cannot."""
    allowed_gib = accelerator.memory_gib * SHARE_OF_MEMORY[accelerator.unified]
    for name in sorted(PRESETS, key=_work_of_a_step, reverse=True):
        config = _fitted(PRESETS[name], accelerator, allowed_gib)
        if config is not None:
            return _proposal(name, config, accelerator, allowed_gib)
    return None


def _work_of_a_step(name: str) -> float:
    return PRESETS[name].total_batch_size * flops_per_token(PRESETS[name], VOCAB)


def _proposal(
    name: str, config: TrainConfig, accelerator: Accelerator, allowed_gib: float
) -> Proposal:
    steps = int(steps_in_budget(config, accelerator))
    need_gib = memory_gib(config, accelerator.engine)
    shared = "shared " if accelerator.unified else ""
    reason = (
        f"the largest preset that does {STEPS} steps in five minutes (about {steps:,}) within "
        f"{allowed_gib:.0f} GiB of {shared}memory (about {need_gib:.1f})"
    )
    return Proposal(name, config, steps, need_gib, reason)


def _fitted(preset: TrainConfig, accelerator: Accelerator, most_gib: float) -> TrainConfig | None:
    """The preset with its batches halved until it fits; None where it never does."""
    config = preset
    while memory_gib(config, accelerator.engine) > most_gib:
        if config.device_batch_size == 1:
            return None
        config = replace(config, device_batch_size=config.device_batch_size // 2)
    least = max(preset.total_batch_size // 2**MOST_HALVINGS, LEAST_TOTAL_BATCH)
    while steps_in_budget(config, accelerator) < STEPS:
        half = config.total_batch_size // 2
        if half < least:
            return None
        device_batch_size = min(config.device_batch_size, half // config.sequence)
        config = replace(config, device_batch_size=device_batch_size, total_batch_size=half)
    return config
