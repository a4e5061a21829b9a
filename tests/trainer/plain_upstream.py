"""The model and optimizer of karpathy/autoresearch written plainly from their formulas.

Shares no code with the trainer and takes no short cuts: one matrix at a time, one parameter at a
time, full masks, the textbook order of operations. The tests hold the trainer against it; the
benchmark measures what the trainer's short cuts are worth. Import nothing of ours here.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)


def norm(x: Tensor) -> Tensor:
    """RMS norm over the last axis, without weight."""
    return F.rms_norm(x, (x.size(-1),))


def rotate(x: Tensor, base: float) -> Tensor:
    """Half-split rotary embedding of x [batch, sequence, heads, head_dim]."""
    sequence, half = x.size(1), x.size(3) // 2
    inverse = 1.0 / base ** (torch.arange(0, 2 * half, 2).float() / (2 * half))
    angle = torch.outer(torch.arange(sequence).float(), inverse)[None, :, None, :]
    x1, x2 = x[..., :half], x[..., half:]
    return torch.cat(
        [x1 * angle.cos() + x2 * angle.sin(), -x1 * angle.sin() + x2 * angle.cos()], dim=3
    )


def visible(sequence: int, window: int) -> Tensor:
    """True where row i sees column j: no later than i and at most `window` positions back."""
    i, j = torch.arange(sequence)[:, None], torch.arange(sequence)[None, :]
    return (j <= i) & (i - j <= window)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, has_value_embedding: bool) -> None:
        super().__init__()
        self.heads = heads
        self.c_q = nn.Linear(width, width, bias=False)
        self.c_k = nn.Linear(width, width, bias=False)
        self.c_v = nn.Linear(width, width, bias=False)
        self.c_proj = nn.Linear(width, width, bias=False)
        self.ve_gate = nn.Linear(32, heads, bias=False) if has_value_embedding else None

    def forward(self, x: Tensor, ve: Tensor | None, window: int, base: float) -> Tensor:
        batch, sequence, width = x.size()
        q = self.c_q(x).view(batch, sequence, self.heads, -1)
        k = self.c_k(x).view(batch, sequence, self.heads, -1)
        v = self.c_v(x).view(batch, sequence, self.heads, -1)
        if self.ve_gate is not None and ve is not None:
            gate = 2 * torch.sigmoid(self.ve_gate(x[..., :32]))
            v = v + gate.unsqueeze(-1) * ve.view(batch, sequence, self.heads, -1)
        q, k = norm(rotate(q, base)), norm(rotate(k, base))
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        mask = visible(sequence, window)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.c_proj(y.transpose(1, 2).reshape(batch, sequence, width))


class MLP(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width, bias=False)
        self.c_proj = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(F.relu(self.c_fc(x)).square())


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, has_value_embedding: bool) -> None:
        super().__init__()
        self.attn = Attention(width, heads, has_value_embedding)
        self.mlp = MLP(width)

    def forward(self, x: Tensor, ve: Tensor | None, window: int, base: float) -> Tensor:
        x = x + self.attn(norm(x), ve, window, base)
        return x + self.mlp(norm(x))


class PlainGPT(nn.Module):
    """`windows` holds each layer's reach; the rest are upstream's constants."""

    def __init__(
        self,
        vocab: int,
        depth: int,
        heads: int,
        head_dim: int,
        windows: list[int],
        softcap: float = 15.0,
        base: float = 10000.0,
    ) -> None:
        super().__init__()
        width = heads * head_dim
        self.width, self.windows, self.softcap, self.base = width, windows, softcap, base
        with_values = [layer for layer in range(depth) if layer % 2 == (depth - 1) % 2]
        self.wte = nn.Embedding(vocab, width)
        self.value_embeds = nn.ModuleDict({str(i): nn.Embedding(vocab, width) for i in with_values})
        self.h = nn.ModuleList(Layer(width, heads, i in with_values) for i in range(depth))
        self.lm_head = nn.Linear(width, vocab, bias=False)
        self.resid_lambdas = nn.Parameter(torch.ones(depth))
        self.x0_lambdas = nn.Parameter(torch.full((depth,), 0.1))

    def logits(self, tokens: Tensor) -> Tensor:
        """Before the soft cap."""
        x = norm(self.wte(tokens))
        x0 = x
        for i, layer in enumerate(self.h):
            x = self.resid_lambdas[i] * x + self.x0_lambdas[i] * x0
            ve = self.value_embeds[str(i)](tokens) if str(i) in self.value_embeds else None
            x = layer(x, ve, self.windows[i], self.base)
        return self.lm_head(norm(x))

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy."""
        logits = self.softcap * torch.tanh(self.logits(tokens).float() / self.softcap)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)


def orthogonalized(gradient: Tensor) -> Tensor:
    """Polar Express of one matrix: close to U V^T of its singular value decomposition."""
    x = gradient / (gradient.norm() * 1.02 + 1e-6)
    tall = x.size(0) > x.size(1)
    for a, b, c in POLAR_EXPRESS:
        gram = x.T @ x if tall else x @ x.T
        series = b * gram + c * (gram @ gram)
        x = a * x + (x @ series if tall else series @ x)
    return x


class PlainOptimizer:
    """MuonAdamW, one parameter at a time. `step` counts from 0."""

    def __init__(
        self,
        model: PlainGPT,
        embedding_lr: float = 0.6,
        unembedding_lr: float = 0.004,
        matrix_lr: float = 0.04,
        scalar_lr: float = 0.5,
        weight_decay: float = 0.2,
        warmdown: float = 0.5,
    ) -> None:
        self.matrix_lr, self.weight_decay, self.warmdown = matrix_lr, weight_decay, warmdown
        scale = (model.width / 768) ** -0.5
        self.adam = [
            (model.lm_head.weight, unembedding_lr * scale, 0.8, 0.95),
            (model.wte.weight, embedding_lr * scale, 0.8, 0.95),
            *((e.weight, embedding_lr * scale, 0.8, 0.95) for e in model.value_embeds.values()),
            (model.resid_lambdas, scalar_lr * 0.01, 0.8, 0.95),
            (model.x0_lambdas, scalar_lr, 0.96, 0.95),
        ]
        self.muon = list(model.h.parameters())
        self.state: dict[Tensor, list[Tensor]] = {}

    @torch.no_grad()
    def step(self, step: int, progress: float) -> None:
        """Updates every parameter from its `.grad` and clears it."""
        scale = min(1.0, (1 - progress) / self.warmdown)
        for parameter, lr, beta1, beta2 in self.adam:
            self._adam(parameter, lr * scale, beta1, beta2, step + 1)
        ramp = min(1.0, step / 300)
        momentum = (1 - ramp) * 0.85 + ramp * 0.95
        decay = self.weight_decay * (1 - progress)
        for parameter in self.muon:
            self._muon(parameter, self.matrix_lr * scale, momentum, decay)
        for parameter in [*(group[0] for group in self.adam), *self.muon]:
            parameter.grad = None

    def _adam(self, p: Tensor, lr: float, beta1: float, beta2: float, t: int) -> None:
        g = p.grad
        m, v = self.state.setdefault(p, [torch.zeros_like(p), torch.zeros_like(p)])
        m.mul_(beta1).add_((1 - beta1) * g)
        v.mul_(beta2).add_((1 - beta2) * g * g)
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        p.sub_(lr * m_hat / (v_hat.sqrt() + 1e-10))

    def _muon(self, p: Tensor, lr: float, momentum: float, decay: float) -> None:
        g = p.grad
        rows, columns = p.shape
        axis = 1 if rows >= columns else 0
        if p not in self.state:
            second = torch.zeros(rows, 1) if axis == 1 else torch.zeros(1, columns)
            self.state[p] = [torch.zeros_like(p), second]
        buffer, second = self.state[p]
        buffer.mul_(momentum).add_((1 - momentum) * g)
        u = orthogonalized((1 - momentum) * g + momentum * buffer)
        mean_square = (u * u).mean(axis, keepdim=True)
        second.mul_(0.95).add_(0.05 * mean_square)
        scaled = u / second.clamp_min(1e-10).sqrt()
        u = scaled * (u.norm() / scaled.norm().clamp_min(1e-10))
        agrees = (u * p >= 0).float()
        lr = lr * math.sqrt(max(1.0, rows / columns))
        p.sub_(lr * u + lr * decay * p * agrees)
