"""The model against an implementation written plainly from upstream's formulas."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from plain_upstream import PlainGPT, PlainOptimizer, visible
from small_run import SMALL, incumbents
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from trainer.config import TrainConfig
from trainer.engines.torch.model import GPT
from trainer.engines.torch.optim import MuonAdamW
from trainer.errors import UsageError
from trainer.schedule import rates_at

VOCAB = 61


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def pair(config: TrainConfig) -> tuple[GPT, PlainGPT]:
    """The trainer's model and the plain one with the same random weights."""
    model = GPT(config, VOCAB, incumbents()).initialise(0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            # away from the initial zeros, which would hide whole branches
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    plain = PlainGPT(VOCAB, config.depth, config.heads, config.head_dim, list(config.windows))
    with torch.no_grad():
        for ours, theirs in matched(model, plain):
            theirs.copy_(ours)
    return model, plain


def matched(model: GPT, plain: PlainGPT) -> Iterator[tuple[nn.Parameter, nn.Parameter]]:
    """Each parameter of the model with its counterpart."""
    yield model.token_embedding, plain.wte.weight
    yield model.head, plain.lm_head.weight
    yield model.residual_lambdas, plain.resid_lambdas
    yield model.embedding_lambdas, plain.x0_lambdas
    for layer, table in model.value_embeddings.items():
        yield table, plain.value_embeds[layer].weight
    for block, layer in zip(model.layers, plain.h, strict=True):
        yield block.query, layer.attn.c_q.weight
        yield block.key, layer.attn.c_k.weight
        yield block.value, layer.attn.c_v.weight
        yield block.attention_out, layer.attn.c_proj.weight
        yield block.up, layer.mlp.c_fc.weight
        yield block.down, layer.mlp.c_proj.weight
        if block.value_gate is not None:
            yield block.value_gate, layer.attn.ve_gate.weight


def tokens(config: TrainConfig, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (config.device_batch_size, config.sequence)
    return tuple(torch.randint(0, VOCAB, shape, generator=generator) for _ in range(2))


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference relative to the largest magnitude."""
    ours, theirs = ours.detach(), theirs.detach()
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-12))


def test_logits_loss_and_gradients_agree_with_the_plain_formulas() -> None:
    """A wrong sign, scale or missing branch anywhere would train a different model."""
    model, plain = pair(SMALL)
    inputs, targets = tokens(SMALL, 2)
    assert difference(model.logits(inputs), plain.logits(inputs)) < 1e-5
    loss, plain_loss = model(inputs, targets).mean(), plain(inputs, targets)
    assert difference(loss, plain_loss) < 1e-5
    loss.backward()
    plain_loss.backward()
    for ours, theirs in matched(model, plain):
        assert difference(ours.grad, theirs.grad) < 1e-5
    assert sum(1 for _ in matched(model, plain)) == len(list(model.parameters()))


def optimizers(model: GPT, plain: PlainGPT) -> tuple[MuonAdamW, PlainOptimizer]:
    """With upstream's epsilon everywhere; the trainer's own default differs (`scalar_eps`)."""
    orthogonalize = incumbents()["muon_orthogonalize"].function
    config = replace(SMALL, scalar_eps=SMALL.adam_eps)
    return MuonAdamW(model, config, orthogonalize, torch.float32), PlainOptimizer(plain)


def test_weights_agree_after_one_optimizer_step() -> None:
    """The update of every group: rates, betas, momentum, normalisation and decay.

    Held to 1e-5 of each tensor's scale, but for the embeddings' weights whose gradient is itself
    rounding: AdamW's first step is the gradient's sign, which there is a coin toss.
    """
    model, plain = pair(SMALL)
    optimizer, reference = optimizers(model, plain)
    inputs, targets = tokens(SMALL, 10)
    model(inputs, targets).mean().backward()
    plain(inputs, targets).backward()
    gradients = [theirs.grad.abs() for _, theirs in matched(model, plain)]
    optimizer.step(rates_at(SMALL, 0, progress=0.6))
    reference.step(0, progress=0.6)
    for gradient, (ours, theirs) in zip(gradients, matched(model, plain), strict=True):
        is_rounding = (gradient > 0) & (gradient < 1e-5 * gradient.max())
        if ours.shape[0] != VOCAB:
            is_rounding.zero_()
        assert is_rounding.float().mean() < 0.01
        assert difference(ours[~is_rounding], theirs[~is_rounding]) < 1e-5


def test_losses_and_weights_stay_together_over_five_steps() -> None:
    """State carried from step to step: moments, bias correction, momentum ramp, second moments.

    The losses are held to 1e-5 (1e-7 is usual), the weights to 1e-4 of each tensor's scale in root
    mean square (1e-5 is usual). Single weights may part further: AdamW with epsilon 1e-10 blows
    rounding-level gradients up to full steps, and the sign test of the cautious decay flips on a
    zero. A momentum of 0.851 for 0.85 comes out at 2e-4, another epsilon at 4e-3.
    """
    model, plain = pair(SMALL)
    optimizer, reference = optimizers(model, plain)
    for step in range(5):
        inputs, targets = tokens(SMALL, 10 + step)
        progress = 0.4 + 0.1 * step
        loss, plain_loss = model(inputs, targets).mean(), plain(inputs, targets)
        assert difference(loss, plain_loss) < 1e-5
        loss.backward()
        plain_loss.backward()
        optimizer.step(rates_at(SMALL, step, progress))
        optimizer.clear_gradients()
        reference.step(step, progress)
    for ours, theirs in matched(model, plain):
        apart = (ours - theirs).detach().square().mean().sqrt()
        assert float(apart) < 1e-4 * float(theirs.detach().abs().max())


def test_initial_weights_are_upstreams() -> None:
    """Zero outputs make the first step safe; wrong scales make it slow or unstable."""
    config = replace(SMALL, aspect_ratio=32)
    model = GPT(config, 2000, incumbents()).initialise(0)
    bound = 3**0.5 * config.width**-0.5
    assert float(model.token_embedding.detach().std()) == pytest.approx(1.0, rel=0.02)
    assert float(model.head.detach().std()) == pytest.approx(0.001, rel=0.02)
    drawn = [model.value_embeddings["0"], model.layers[0].query, model.layers[1].up]
    for matrix in drawn:
        values = matrix.detach()
        assert 0.95 * bound < float(values.abs().max()) <= bound
        assert float(values.std()) == pytest.approx(config.width**-0.5, rel=0.03)
    zero = [model.layers[0].attention_out, model.layers[1].down, model.layers[2].value_gate]
    assert not any(matrix.detach().any() for matrix in zero)
    assert model.residual_lambdas.tolist() == [1.0] * 3
    assert model.embedding_lambdas.tolist() == pytest.approx([0.1] * 3)


def test_same_seed_same_weights_and_another_seed_others() -> None:
    """Pairs of an A/B start from the same weights; other seeds are other runs."""
    first, again, other = (GPT(SMALL, VOCAB, incumbents()).initialise(s) for s in (1, 1, 2))
    assert torch.equal(first.head, again.head)
    assert torch.equal(first.layers[2].up, again.layers[2].up)
    assert not torch.equal(first.head, other.head)


@pytest.mark.parametrize(
    ("sequence", "window"), [(40, 20), (64, 5), (50, 33), (33, 16), (40, 1), (200, 100)]
)
def test_windowed_attention_equals_a_full_mask(sequence: int, window: int) -> None:
    """Blocks, their masks and their edges, for windows that divide nothing evenly too."""
    generator = torch.Generator().manual_seed(3)
    shape = (2, sequence, 2, 8)
    q, k, v = (torch.randn(shape, generator=generator, requires_grad=True) for _ in range(3))
    expected = scaled_dot_product_attention(
        q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=visible(sequence, window)
    ).transpose(1, 2)
    result = incumbents().sliding_window_attention(q, k, v, window)
    assert difference(result, expected) < 1e-5
    upstream = torch.randn(shape, generator=generator)
    ours = torch.autograd.grad(result, (q, k, v), upstream)
    theirs = torch.autograd.grad(expected, (q, k, v), upstream)
    for mine, other in zip(ours, theirs, strict=True):
        assert difference(mine, other) < 1e-5


def test_the_window_is_not_silently_full() -> None:
    """Exactly `window` positions back are seen: one more has no influence at all, forward or back.

    Ports that fall back to full attention train another model than they say.
    """
    sequence, window, query = 48, 24, 47
    generator = torch.Generator().manual_seed(4)
    q, k, v = (
        torch.randn((1, sequence, 1, 8), generator=generator, requires_grad=True) for _ in range(3)
    )
    seen = incumbents().sliding_window_attention(q, k, v, window)
    seen[0, query].sum().backward()
    reached = [bool(v.grad[0, j].any() and k.grad[0, j].any()) for j in range(sequence)]
    assert reached == [query - window <= j <= query for j in range(sequence)]


def test_a_token_outside_every_window_cannot_change_the_logits() -> None:
    """The same through the whole model, where the reach of the layers adds up."""
    config = replace(SMALL, depth=1, aspect_ratio=48, window_pattern="S")
    model = GPT(config, VOCAB, incumbents()).initialise(0)
    block = model.layers[0]
    block.window = 4  # the last layer's own window is full
    with torch.no_grad():
        block.attention_out.normal_(generator=torch.Generator().manual_seed(5))
    inputs, _ = tokens(config, 6)
    changed = inputs.clone()
    changed[:, 10] = (changed[:, 10] + 1) % VOCAB
    before, after = model.logits(inputs), model.logits(changed)
    differs = (before != after).any(dim=-1)[0].tolist()
    assert differs == [10 <= position <= 14 for position in range(config.sequence)]


def test_a_model_too_narrow_for_its_gates_is_refused() -> None:
    """Told at once with the flags to change, not as a shape error from inside torch."""
    with pytest.raises(UsageError, match="channels"):
        GPT(replace(SMALL, depth=1, aspect_ratio=16), VOCAB, incumbents())


def test_bfloat16_activations_train_float32_weights() -> None:
    """As on a GPU: close to float32, and small updates are not rounded away."""
    inputs, targets = tokens(SMALL, 7)
    exact = GPT(SMALL, VOCAB, incumbents()).initialise(0)
    rounded = GPT(SMALL, VOCAB, incumbents(), torch.bfloat16).initialise(0)
    assert rounded.logits(inputs).dtype == torch.bfloat16
    losses = rounded(inputs, targets)
    assert losses.dtype == torch.float32
    assert difference(losses, exact(inputs, targets)) < 0.01
    losses.mean().backward()
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in rounded.parameters())
    orthogonalize = incumbents()["muon_orthogonalize"].function
    MuonAdamW(rounded, SMALL, orthogonalize, torch.bfloat16).step(rates_at(SMALL, 0, 0.0))
    assert rounded(inputs, targets).mean().item() < losses.mean().item()


def test_the_model_is_one_graph_for_the_compiler() -> None:
    """A break would leave torch.compile with fragments; scopes and the op table must trace."""
    model, _ = pair(SMALL)
    inputs, targets = tokens(SMALL, 8)
    compiled = torch.compile(model, fullgraph=True, dynamic=False, backend="eager")
    assert torch.equal(compiled(inputs, targets), model(inputs, targets))
