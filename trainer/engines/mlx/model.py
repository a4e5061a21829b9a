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
from trainer.engines.mlx.seams import seam
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
        embedding = self._embed("embedding", weights["token_embedding"], tokens)
        x = x0 = self.ops.rmsnorm(embedding, EPS)
        kept, added = weights["residual_lambdas"], weights["embedding_lambdas"]
        for layer in range(self.config.depth):
            x = seam("residual_mix", _mixed, x, x0, kept[layer], added[layer])
            more = self._attention(weights, layer, self.ops.rmsnorm(x, EPS), tokens)
            x = seam("residual_add", mx.add, x, more)
            more = self._mlp(weights, layer, self.ops.rmsnorm(x, EPS))
            x = seam("residual_add", mx.add, x, more)
        return seam("head_projection", _project, self.ops.rmsnorm(x, EPS), weights["head"])

    def _attention(self, weights: Weights, layer: int, x: mx.array, tokens: mx.array) -> mx.array:
        here = f"layers.{layer}"
        matrices = [weights[f"{here}.{name}"] for name in ("query", "key", "value")]
        q, k, v = seam("qkv_projection", self._by_head, x, *matrices)
        if self.config.has_value_embedding(layer):
            embedding = self._embed("value_embedding", weights[f"value_embeddings.{layer}"], tokens)
            v = seam("value_embed_gate", _gated, x, weights[f"{here}.value_gate"], v, embedding)
        q, k = self.ops.rope_qk_norm(q, k, self.cos, self.sin, EPS)
        y = self.ops.sliding_window_attention(q, k, v, self.config.windows[layer]).flatten(2)
        return seam("attention_projection", _project, y, weights[f"{here}.attention_out"])

    def _mlp(self, weights: Weights, layer: int, x: mx.array) -> mx.array:
        hidden = self.ops.relu_squared(seam("mlp_up", _project, x, weights[f"layers.{layer}.up"]))
        return seam("mlp_down", _project, hidden, weights[f"layers.{layer}.down"])

    def _by_head(self, x: mx.array, *matrices: mx.array) -> tuple[mx.array, ...]:
        shape = (*x.shape[:2], -1, self.config.head_dim)
        return tuple(_project(x, matrix).reshape(shape) for matrix in matrices)

    def _embed(self, label: str, table: mx.array, tokens: mx.array) -> mx.array:
        return seam(label, lambda table: table[tokens].astype(self.compute_dtype), table)


def _mixed(x: mx.array, x0: mx.array, kept: mx.array, added: mx.array) -> mx.array:
    return (kept * x + added * x0).astype(x.dtype)


def _gated(x: mx.array, weight: mx.array, v: mx.array, embedding: mx.array) -> mx.array:
    gate = _project(x[..., :VALUE_GATE_CHANNELS], weight)
    return v + (2 * mx.sigmoid(gate))[..., None] * embedding.reshape(v.shape)


def _project(x: mx.array, weight: mx.array) -> mx.array:
    return x @ weight.astype(x.dtype).T
