"""One frozen configuration, the presets, and everything that follows from them.

`depth` is the dial: width, heads and their sizes derive from it. A preset is a `TrainConfig`; flags
override single fields (`override`). Sizes are in tokens or elements, rates are per optimizer step.

The six presets beside `tour` and `tour-mlx` are those of autoresearch-everywhere; `upstream` is
karpathy/autoresearch (its batch sizes are for one H100: pass --device-batch-size on less).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

from kernels.spec import TrainingShape
from trainer.errors import UsageError, unknown

VALUE_GATE_CHANNELS = 32
"""How many channels of the block's input a value-embedding gate reads."""


@dataclass(frozen=True)
class TrainConfig:
    """All of a run but its budget, data and engine."""

    # Architecture
    depth: int = 8
    aspect_ratio: int = 64
    """Width per layer; the width is depth * aspect_ratio, rounded up to whole heads."""
    head_dim: int = 128
    sequence: int = 2048
    window_pattern: str = "SSSL"
    """S: a window of half the sequence, L: all of it; repeated over the layers, the last is L."""
    softcap: float = 15.0
    rotary_base: float = 10000.0

    # Batch
    device_batch_size: int = 128
    """Sequences of one micro-batch."""
    total_batch_size: int = 2**19
    """Tokens of one optimizer step."""

    # Optimizer
    embedding_lr: float = 0.6
    unembedding_lr: float = 0.004
    matrix_lr: float = 0.04
    scalar_lr: float = 0.5
    weight_decay: float = 0.2
    adam_beta1: float = 0.8
    adam_beta2: float = 0.95
    adam_eps: float = 1e-10
    scalar_eps: float = 1e-6
    """Of the lambdas; upstream has 1e-10 here too. Before the first step the blocks add nothing and
    the last norm undoes every scale, so the lambdas' gradient is rounding noise (1e-10): divided by
    its own size it becomes a full step of 0.5, up or down by the order of additions."""
    muon_steps: int = 5
    muon_beta2: float = 0.95
    muon_momentum_start: float = 0.85
    muon_momentum_end: float = 0.95
    muon_momentum_ramp_steps: int = 300

    # Schedule, as fractions of the budget
    warmup_ratio: float = 0.0
    warmdown_ratio: float = 0.5
    final_lr_fraction: float = 0.0

    seed: int = 42

    def __post_init__(self) -> None:
        for name in ("depth", "aspect_ratio", "head_dim", "sequence", "device_batch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.head_dim % 2:
            raise UsageError(f"head_dim must be even for rotary embeddings, not {self.head_dim}")
        if not self.window_pattern or set(self.window_pattern) - {"S", "L"}:
            raise UsageError(
                f"window_pattern must be made of S and L, not '{self.window_pattern}'",
                "For example --window-pattern SSSL.",
            )
        micro = self.device_batch_size * self.sequence
        if self.total_batch_size < micro or self.total_batch_size % micro:
            nearest = max(1, round(self.total_batch_size / micro)) * micro
            raise UsageError(
                f"total_batch_size {self.total_batch_size} is no multiple of device_batch_size x "
                f"sequence = {micro}",
                f"The nearest that works: --total-batch-size {nearest}.",
            )
        if not 0 <= self.warmup_ratio + self.warmdown_ratio <= 1:
            raise UsageError("warmup_ratio + warmdown_ratio must lie between 0 and 1")

    @property
    def width(self) -> int:
        """Channels of the residual stream."""
        return self.heads * self.head_dim

    @property
    def heads(self) -> int:
        """Attention heads; keys and values have as many."""
        return math.ceil(self.depth * self.aspect_ratio / self.head_dim)

    @property
    def accumulation(self) -> int:
        """Micro-batches of one optimizer step."""
        return self.total_batch_size // (self.device_batch_size * self.sequence)

    @property
    def windows(self) -> tuple[int, ...]:
        """How many positions back each layer sees, besides its own; the last layer sees all."""
        size = {"S": max(1, self.sequence // 2), "L": self.sequence}
        pattern = [self.window_pattern[i % len(self.window_pattern)] for i in range(self.depth)]
        return (*(size[letter] for letter in pattern[:-1]), self.sequence)

    def has_value_embedding(self, layer: int) -> bool:
        """Every other layer has a value embedding, the last one always."""
        return layer % 2 == (self.depth - 1) % 2


PRESETS: dict[str, TrainConfig] = {
    "tour": TrainConfig(
        depth=2,
        head_dim=64,
        sequence=256,
        window_pattern="SL",
        device_batch_size=4,
        total_batch_size=1024,
    ),
    # for MLX on a Linux CPU, which multiplies matrices at a few GFLOP/s
    "tour-mlx": TrainConfig(
        depth=2,
        aspect_ratio=32,
        head_dim=32,
        sequence=128,
        window_pattern="SL",
        device_batch_size=2,
        total_batch_size=256,
    ),
    "m5-tiny": TrainConfig(
        depth=2, sequence=256, window_pattern="L", device_batch_size=4, total_batch_size=12288
    ),
    "m5-small": TrainConfig(
        depth=4, sequence=512, window_pattern="L", device_batch_size=4, total_batch_size=12288
    ),
    "m5-balanced": TrainConfig(
        depth=6, sequence=1024, window_pattern="SSSSL", device_batch_size=4, total_batch_size=12288
    ),
    "m5-large": TrainConfig(
        depth=8, sequence=512, window_pattern="SSSSL", device_batch_size=4, total_batch_size=16384
    ),
    "m5-xlarge": TrainConfig(
        depth=8, sequence=2048, window_pattern="L", device_batch_size=4, total_batch_size=16384
    ),
    "upstream": TrainConfig(),
}


def preset(name: str) -> TrainConfig:
    """The preset of that name. Raises `UsageError` with the nearest name and the list."""
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return PRESETS[name]


def override(config: TrainConfig, changes: dict[str, object]) -> TrainConfig:
    """`config` with some fields replaced; None leaves a field as it is."""
    known = {field.name for field in fields(TrainConfig)}
    for name in changes:
        if name not in known:
            raise unknown("setting", name, known)
    given = {name: value for name, value in changes.items() if value is not None}
    return replace(config, **given)  # type: ignore[arg-type]


def check_width(config: TrainConfig) -> None:
    """Raises `UsageError` where the model would be too narrow for its value gates."""
    if config.width < VALUE_GATE_CHANNELS:
        raise UsageError(
            f"a width of {config.width} is less than the {VALUE_GATE_CHANNELS} channels that "
            "the value gates read",
            "Raise --depth, --aspect-ratio or --head-dim.",
        )


def muon_matrices(config: TrainConfig) -> tuple[tuple[int, int, int], ...]:
    """Muon's stacks, one per distinct shape of the blocks' matrices: (count, rows, columns).

    Attention has four square matrices a layer, the MLP one up and one down, and each layer with a
    value embedding a gate [heads, VALUE_GATE_CHANNELS].
    """
    width, depth = config.width, config.depth
    gates = sum(config.has_value_embedding(layer) for layer in range(depth))
    counts: dict[tuple[int, int], int] = {}
    for count, shape in (
        (4 * depth, (width, width)),
        (depth, (4 * width, width)),
        (depth, (width, 4 * width)),
        (gates, (config.heads, VALUE_GATE_CHANNELS)),
    ):
        counts[shape] = counts.get(shape, 0) + count
    return tuple((count, *shape) for shape, count in counts.items())


def training_shape(config: TrainConfig, vocab: int) -> TrainingShape:
    """The sizes at which a run of `config` calls its ops."""
    return TrainingShape(
        batch=config.device_batch_size,
        sequence=config.sequence,
        width=config.width,
        heads=config.heads,
        head_dim=config.head_dim,
        vocab=vocab,
        layers=config.depth,
        matrices=muon_matrices(config),
        gate_channels=VALUE_GATE_CHANNELS,
        windows=config.windows,
    )
