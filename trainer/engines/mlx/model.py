"""The language model of karpathy/autoresearch in MLX: the op table decides who computes what.

    model = GPT(config, ops, mx.float32)
    losses = model.losses(weights, inputs, targets)   # int64 [batch, sequence] -> float32 [tokens]

The mirror of `trainer.engines.torch.model`, which says what is computed. Here the model is a pure
function of its weights, a flat dict by name (`trainer.parameters.shapes`), so that MLX can
differentiate and compile it, and a checkpoint holds that very dict.

Weights are float32; activations have the compute dtype, to which each weight is cast where it is
used. A float32 scalar times a bfloat16 array is float32 in MLX, so the residual mix is computed in
float32 and cast back: the stream never widens. The model holds no weights and picks no op.
"""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx

from trainer.config import VALUE_GATE_CHANNELS, TrainConfig, check_width
from trainer.ops import OpTable
from trainer.parameters import rotations

EPS = 2**-23
"""Added to the mean square in every norm, as in the torch engine."""

Weights = Mapping[str, mx.array]


class GPT:
    """The whole model. `losses` gives the loss of every token."""

    def __init__(self, config: TrainConfig, ops: OpTable, compute_dtype: mx.Dtype) -> None:
        check_width(config)
        self.config, self.ops, self.compute_dtype = config, ops, compute_dtype
        cos, sin = rotations(config)
        self.cos, self.sin = mx.array(cos, compute_dtype), mx.array(sin, compute_dtype)

    def losses(self, weights: Weights, tokens: mx.array, targets: mx.array) -> mx.array:
        """Loss in nats of each target, float32 [tokens]; targets of -1 cost nothing."""
        logits = self.logits(weights, tokens).flatten(0, 1)
        return self.ops.softcap_cross_entropy(logits, targets.flatten(), self.config.softcap)

    def logits(self, weights: Weights, tokens: mx.array) -> mx.array:
        """Logits before the soft cap, [batch, sequence, vocab]."""
        x = x0 = self.ops.rmsnorm(self._embed(weights["token_embedding"], tokens), EPS)
        kept, added = weights["residual_lambdas"], weights["embedding_lambdas"]
        for layer in range(self.config.depth):
            x = (kept[layer] * x + added[layer] * x0).astype(self.compute_dtype)
            x = x + self._attention(weights, layer, self.ops.rmsnorm(x, EPS), tokens)
            x = x + self._mlp(weights, layer, self.ops.rmsnorm(x, EPS))
        return _project(self.ops.rmsnorm(x, EPS), weights["head"])

    def _attention(self, weights: Weights, layer: int, x: mx.array, tokens: mx.array) -> mx.array:
        here = f"layers.{layer}"
        q, k, v = (
            _project(x, weights[f"{here}.{name}"]).reshape(*x.shape[:2], -1, self.config.head_dim)
            for name in ("query", "key", "value")
        )
        if self.config.has_value_embedding(layer):
            embedding = self._embed(weights[f"value_embeddings.{layer}"], tokens)
            gate = _project(x[..., :VALUE_GATE_CHANNELS], weights[f"{here}.value_gate"])
            v = v + (2 * mx.sigmoid(gate))[..., None] * embedding.reshape(v.shape)
        q, k = self.ops.rope_qk_norm(q, k, self.cos, self.sin, EPS)
        y = self.ops.sliding_window_attention(q, k, v, self.config.windows[layer])
        return _project(y.flatten(2), weights[f"{here}.attention_out"])

    def _mlp(self, weights: Weights, layer: int, x: mx.array) -> mx.array:
        hidden = self.ops.relu_squared(_project(x, weights[f"layers.{layer}.up"]))
        return _project(hidden, weights[f"layers.{layer}.down"])

    def _embed(self, table: mx.array, tokens: mx.array) -> mx.array:
        return table[tokens].astype(self.compute_dtype)


def _project(x: mx.array, weight: mx.array) -> mx.array:
    return x @ weight.astype(x.dtype).T
