"""The language model of karpathy/autoresearch in torch: the op table decides who computes what.

    model = GPT(config, vocab, ops).initialise(seed)
    losses = model(inputs, targets)      # int64 [batch, sequence] each -> float32 [tokens]

Per layer: x = r * x + e * x0; x += attention(norm(x)); x += mlp(norm(x)), where x0 is the normed
token embedding and r, e are learned scalars. Attention rotates, then norms, queries and keys; every
other layer adds a gated value embedding. The head is untied and its logits are soft-capped.

Weights are float32; activations have `compute_dtype`, to which each weight is cast where it is
used. (Upstream keeps embeddings and their moments in bfloat16; here they have float32 masters, so
that small updates are not rounded away.) The model holds no optimizer and picks no op.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.config import VALUE_GATE_CHANNELS, TrainConfig, check_width
from trainer.ops import OpTable
from trainer.parameters import initial, rotations
from trainer.scopes import scope

EPS = 2**-23
"""Added to the mean square in every norm: the float32 epsilon, torch's default in float32."""


class Ops:
    """The op table's functions that the model calls, each inside its profiler scope.

    One that is left to its parts is None: the model then does the work itself, in these parts.
    """

    def __init__(self, table: OpTable) -> None:
        self.rmsnorm = _scoped(table, "rmsnorm")
        self.rope_qk_norm = _scoped(table, "rope_qk_norm")
        self.relu_squared = _scoped(table, "relu_squared")
        self.value_embed_gate = _scoped(table, "value_embed_gate")
        self.sliding_window_attention = _scoped(table, "sliding_window_attention")
        self.softcap_cross_entropy = _scoped(table, "softcap_cross_entropy")
        self.linear_softcap_cross_entropy = _whole(table, "linear_softcap_cross_entropy")
        self.residual_rmsnorm = _whole(table, "residual_rmsnorm")
        self.fused_mlp = _whole(table, "fused_mlp")
        self.attention_prelude = _whole(table, "attention_prelude")


def _whole(table: OpTable, name: str) -> Callable[..., Any] | None:
    return None if table[name].in_parts else _scoped(table, name)


def _scoped(table: OpTable, name: str) -> Callable[..., Any]:
    function, label = table[name].function, f"op:{name}"

    def call(*arguments: Any) -> Any:
        with scope(label):
            return function(*arguments)

    return call


def _matrix(rows: int, columns: int) -> nn.Parameter:
    """A weight [out, in]; `initialise` fills it."""
    return nn.Parameter(torch.zeros(rows, columns))


def _project(x: Tensor, weight: Tensor) -> Tensor:
    return F.linear(x, weight.to(x.dtype))


class Block(nn.Module):
    """One layer. Its matrices are trained by Muon."""

    def __init__(self, config: TrainConfig, layer: int, ops: Ops) -> None:
        super().__init__()
        width = config.width
        self.ops = ops
        self.heads, self.head_dim = config.heads, config.head_dim
        self.window = config.windows[layer]
        self.query = _matrix(width, width)
        self.key = _matrix(width, width)
        self.value = _matrix(width, width)
        self.attention_out = _matrix(width, width)
        self.up = _matrix(4 * width, width)
        self.down = _matrix(width, 4 * width)
        self.value_gate = (
            _matrix(config.heads, VALUE_GATE_CHANNELS)
            if config.has_value_embedding(layer)
            else None
        )

    def forward(
        self, x: Tensor, normed: Tensor, cos: Tensor, sin: Tensor, value_embedding: Tensor | None
    ) -> Tensor:
        """x [batch, sequence, width] and its norm -> x after attention and MLP."""
        attention = self._attention(normed, cos, sin, value_embedding)
        with scope("op:residual_add"):
            x = x + attention
        mlp = self._mlp(self.ops.rmsnorm(x, EPS))
        with scope("op:residual_add"):
            return x + mlp

    def _attention(
        self, x: Tensor, cos: Tensor, sin: Tensor, value_embedding: Tensor | None
    ) -> Tensor:
        q, k, v = self._projected(x, cos, sin)
        if self.value_gate is not None and value_embedding is not None:
            with scope("op:arguments"):
                weight, embedding = self.value_gate.to(x.dtype), value_embedding.view_as(v)
            v = self.ops.value_embed_gate(x, weight, v, embedding)
        y = self.ops.sliding_window_attention(q, k, v, self.window)
        with scope("op:attention_projection"):
            return _project(y.flatten(2), self.attention_out)

    def _projected(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys, turned and normed, and values, [batch, sequence, heads, head_dim]."""
        by_head, weights = (self.heads, self.head_dim), (self.query, self.key, self.value)
        if self.ops.attention_prelude is not None:
            with scope("op:arguments"):
                given = [weight.to(x.dtype).unflatten(0, by_head) for weight in weights]
            q, k, v = self.ops.attention_prelude(x, *given, cos, sin, EPS)
            return q, k, v
        with scope("op:qkv_projection"):
            q, k, v = (_project(x, weight).unflatten(-1, by_head) for weight in weights)
        q, k = self.ops.rope_qk_norm(q, k, cos, sin, EPS)
        return q, k, v

    def _mlp(self, x: Tensor) -> Tensor:
        if self.ops.fused_mlp is not None:
            with scope("op:arguments"):
                up, down = self.up.to(x.dtype), self.down.to(x.dtype)
            y: Tensor = self.ops.fused_mlp(x, up, down)
            return y
        with scope("op:mlp_up"):
            hidden = _project(x, self.up)
        hidden = self.ops.relu_squared(hidden)
        with scope("op:mlp_down"):
            return _project(hidden, self.down)


class GPT(nn.Module):
    """The whole model. `forward` gives the loss of every token."""

    cos: Tensor
    sin: Tensor

    def __init__(
        self,
        config: TrainConfig,
        vocab: int,
        ops: OpTable,
        compute_dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        check_width(config)
        self.config, self.vocab, self.compute_dtype = config, vocab, compute_dtype
        self.ops = Ops(ops)
        self.token_embedding = _matrix(vocab, config.width)
        self.value_embeddings = nn.ParameterDict(
            {
                str(layer): _matrix(vocab, config.width)
                for layer in range(config.depth)
                if config.has_value_embedding(layer)
            }
        )
        self.layers = nn.ModuleList(Block(config, layer, self.ops) for layer in range(config.depth))
        self.head = _matrix(vocab, config.width)
        self.residual_lambdas = nn.Parameter(torch.zeros(config.depth))
        self.embedding_lambdas = nn.Parameter(torch.zeros(config.depth))
        cos, sin = map(torch.from_numpy, rotations(config))
        self.register_buffer("cos", cos.to(compute_dtype), persistent=False)
        self.register_buffer("sin", sin.to(compute_dtype), persistent=False)

    @torch.no_grad()
    def initialise(self, seed: int) -> GPT:
        """The fresh weights of that seed, the same on every engine and device."""
        weights = dict(self.named_parameters())
        for name, values in initial(self.config, self.vocab, seed):
            weights.pop(name).copy_(torch.from_numpy(values))
        if weights:
            raise ValueError(f"weights without an initial value: {', '.join(weights)}")
        return self

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Loss in nats of each target, float32 [tokens]; targets of -1 cost nothing."""
        x, whole = self._last_norm(tokens), self.ops.linear_softcap_cross_entropy
        if whole is not None:
            with scope("op:arguments"):
                given = x.flatten(0, 1), self.head.to(x.dtype), targets.flatten()
            return whole(*given, self.config.softcap)
        with scope("op:head_projection"):
            logits, targets = _project(x, self.head).flatten(0, 1), targets.flatten()
        return self.ops.softcap_cross_entropy(logits, targets, self.config.softcap)

    def logits(self, tokens: Tensor) -> Tensor:
        """Logits before the soft cap, [batch, sequence, vocab]."""
        x = self._last_norm(tokens)
        with scope("op:head_projection"):
            return _project(x, self.head)

    def _last_norm(self, tokens: Tensor) -> Tensor:
        """What the head reads, [batch, sequence, width]."""
        x = x0 = self.ops.rmsnorm(self._embed("op:embedding", self.token_embedding, tokens), EPS)
        with scope("op:residual_lambdas"):
            kept, added = self.residual_lambdas.split(1), self.embedding_lambdas.split(1)
        for layer, block in enumerate(self.layers):
            x, normed = self._mixed(x, x0, kept[layer], added[layer])
            value_embedding = None
            if str(layer) in self.value_embeddings:
                table = self.value_embeddings[str(layer)]
                value_embedding = self._embed("op:value_embedding", table, tokens)
            x = block(x, normed, self.cos, self.sin, value_embedding)
        return self.ops.rmsnorm(x, EPS)

    def _mixed(self, x: Tensor, x0: Tensor, kept: Tensor, added: Tensor) -> tuple[Tensor, Tensor]:
        """The stream as it enters a layer, and its norm; the lambdas are [1]."""
        if self.ops.residual_rmsnorm is not None:
            mixed, normed = self.ops.residual_rmsnorm(x, x0, kept, added, EPS)
            return mixed, normed
        with scope("op:residual_mix"):
            # without dims a float32 lambda leaves the stream in its dtype
            x = kept.squeeze(0) * x + added.squeeze(0) * x0
        return x, self.ops.rmsnorm(x, EPS)

    def _embed(self, label: str, table: Tensor, tokens: Tensor) -> Tensor:
        with scope(label):
            return F.embedding(tokens, table).to(self.compute_dtype)
