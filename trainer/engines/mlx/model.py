"""The language model of karpathy/autoresearch in MLX: the op table decides who computes what.

    model = GPT(config, ops, mx.float32)
    losses = model.losses(weights, inputs, targets)   # int64 [batch, sequence] -> float32 [tokens]

The mirror of `trainer.engines.torch.model`, which says what is computed. Here the model is a pure
function of its weights, a flat dict by name (`trainer.parameters.shapes`), so that MLX can
differentiate and compile it, and a checkpoint holds that very dict.

Weights are float32; activations have the compute dtype, to which each weight is cast where it is
used. A float32 scalar times a bfloat16 array is float32 in MLX, so the residual mix is computed in
float32 and cast back: the stream never widens. A larger op is done in its parts unless the table
has a whole one. The model holds no weights and picks no op.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import mlx.core as mx

from trainer.config import TrainConfig, check_width
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
        x, targets = self._last_norm(weights, tokens), targets.flatten()
        if whole := self.ops.whole("linear_softcap_cross_entropy"):
            head = weights["head"].astype(x.dtype)
            losses: mx.array = whole(x.flatten(0, 1), head, targets, self.config.softcap)
            return losses
        logits = seam("head_projection", _project, x, weights["head"]).flatten(0, 1)
        return self.ops.softcap_cross_entropy(logits, targets, self.config.softcap)

    def logits(self, weights: Weights, tokens: mx.array) -> mx.array:
        """Logits before the soft cap, [batch, sequence, vocab]."""
        return seam("head_projection", _project, self._last_norm(weights, tokens), weights["head"])

    def _last_norm(self, weights: Weights, tokens: mx.array) -> mx.array:
        """What the head reads, [batch, sequence, width]."""
        embedding = self._embed("embedding", weights["token_embedding"], tokens)
        x = x0 = self.ops.rmsnorm(embedding, EPS)
        kept, added = weights["residual_lambdas"], weights["embedding_lambdas"]
        for layer in range(self.config.depth):
            x, normed = self._mixed(x, x0, kept[layer], added[layer])
            more = self._attention(weights, layer, normed, tokens)
            x = seam("residual_add", mx.add, x, more)
            more = self._mlp(weights, layer, self.ops.rmsnorm(x, EPS))
            x = seam("residual_add", mx.add, x, more)
        return self.ops.rmsnorm(x, EPS)

    def _mixed(
        self, x: mx.array, x0: mx.array, kept: mx.array, added: mx.array
    ) -> tuple[mx.array, mx.array]:
        """The stream as it enters a layer, and its norm; the lambdas have no dims."""
        if whole := self.ops.whole("residual_rmsnorm"):
            mixed, normed = whole(x, x0, kept.reshape(1), added.reshape(1), EPS)
            return mixed, normed
        x = seam("residual_mix", _mix, x, x0, kept, added)
        return x, self.ops.rmsnorm(x, EPS)

    def _attention(self, weights: Weights, layer: int, x: mx.array, tokens: mx.array) -> mx.array:
        here = f"layers.{layer}"
        q, k, v = self._projected([weights[f"{here}.{n}"] for n in ("query", "key", "value")], x)
        if self.config.has_value_embedding(layer):
            embedding = self._embed("value_embedding", weights[f"value_embeddings.{layer}"], tokens)
            gate = weights[f"{here}.value_gate"].astype(x.dtype)
            v = self.ops.value_embed_gate(x, gate, v, embedding.reshape(v.shape))
        y = self.ops.sliding_window_attention(q, k, v, self.config.windows[layer]).flatten(2)
        return seam("attention_projection", _project, y, weights[f"{here}.attention_out"])

    def _projected(
        self, matrices: Sequence[mx.array], x: mx.array
    ) -> tuple[mx.array, mx.array, mx.array]:
        """Queries and keys, turned and normed, and values, [batch, sequence, heads, head_dim]."""
        by_head = (self.config.heads, self.config.head_dim)
        if whole := self.ops.whole("attention_prelude"):
            given = [matrix.astype(x.dtype).reshape(*by_head, -1) for matrix in matrices]
            q, k, v = whole(x, *given, self.cos, self.sin, EPS)
            return q, k, v
        q, k, v = seam("qkv_projection", self._by_head, x, *matrices)
        q, k = self.ops.rope_qk_norm(q, k, self.cos, self.sin, EPS)
        return q, k, v

    def _mlp(self, weights: Weights, layer: int, x: mx.array) -> mx.array:
        if whole := self.ops.whole("fused_mlp"):
            up, down = (weights[f"layers.{layer}.{n}"].astype(x.dtype) for n in ("up", "down"))
            y: mx.array = whole(x, up, down)
            return y
        hidden = self.ops.relu_squared(seam("mlp_up", _project, x, weights[f"layers.{layer}.up"]))
        return seam("mlp_down", _project, hidden, weights[f"layers.{layer}.down"])

    def _by_head(self, x: mx.array, *matrices: mx.array) -> tuple[mx.array, ...]:
        shape = (*x.shape[:2], self.config.heads, self.config.head_dim)
        return tuple(_project(x, matrix).reshape(shape) for matrix in matrices)

    def _embed(self, label: str, table: mx.array, tokens: mx.array) -> mx.array:
        return seam(label, lambda table: table[tokens].astype(self.compute_dtype), table)


def _mix(x: mx.array, x0: mx.array, kept: mx.array, added: mx.array) -> mx.array:
    return (kept * x + added * x0).astype(x.dtype)


def _project(x: mx.array, weight: mx.array) -> mx.array:
    return x @ weight.astype(x.dtype).T
