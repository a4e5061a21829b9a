"""How many FLOPs the model needs per token: the numerator of model FLOPs utilisation.

Counted are the matrix products and the attention, forward and backward (three times the forward),
at the pairs of positions that the causal window lets see each other. Upstream counts whole windows
instead, which is about half as much attention again; its utilisation reads higher for that.
"""

from __future__ import annotations

from trainer.config import VALUE_GATE_CHANNELS, TrainConfig

FORWARD_AND_BACKWARD = 3
"""A product costs 2 FLOPs per weight forward, and twice that backward."""


def visible_positions(sequence: int, window: int) -> float:
    """Mean number of positions that one position attends to, itself included."""
    full = max(0, sequence - window)
    ramp = sequence - full
    return (ramp * (ramp + 1) / 2 + full * (window + 1)) / sequence


def multiplied_weights(config: TrainConfig, vocab: int) -> int:
    """Weights that every token is multiplied with: the blocks' matrices, the gates, the head."""
    gates = _value_embeddings(config) * config.heads * VALUE_GATE_CHANNELS
    return 12 * config.width**2 * config.depth + gates + vocab * config.width


def all_weights(config: TrainConfig, vocab: int) -> int:
    """Those, the embeddings of tokens and values, and two lambdas per layer."""
    embeddings = (1 + _value_embeddings(config)) * vocab * config.width
    return multiplied_weights(config, vocab) + embeddings + 2 * config.depth


def _value_embeddings(config: TrainConfig) -> int:
    return sum(config.has_value_embedding(layer) for layer in range(config.depth))


def flops_per_token(config: TrainConfig, vocab: int) -> float:
    """FLOPs of training on one token. Embedding look-ups cost none."""
    width, weights = config.width, multiplied_weights(config, vocab)
    # scores and weighted sum: 2 FLOPs per channel each, for every pair
    pairs = sum(visible_positions(config.sequence, window) for window in config.windows)
    return FORWARD_AND_BACKWARD * (2 * weights + 4 * width * pairs)


def utilisation(tokens: int, seconds: float, per_token: float, peak: float) -> float:
    """Share of the peak that was used, in percent."""
    return 100 * per_token * tokens / (seconds * peak) if seconds > 0 else 0.0
