"""The MLX engine: one model and its optimizer on an Apple GPU, or on the CPU of a Linux machine.

    engine = MLXEngine("mlx", config, vocab, ops, compile_model=None)
    loss = engine.step(micro_batches, rates).wait()  # one optimizer step; its mean loss

It obeys `trainer.loop.Engine`, as `trainer.engines.torch.engine` does. MLX is lazy: nothing is
computed before it is evaluated. Each micro-batch but the last is evaluated before the next one is
put up, so that memory holds the graph of one; the last goes in one graph with the optimizer. The
compiled functions are pure, and weights and moments are replaced as soon as the new ones are
defined, so that MLX may write these into the memory of the old.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import mlx.core as mx
import numpy as np

from trainer import checkpoint
from trainer.config import TrainConfig
from trainer.engines.mlx import choices
from trainer.engines.mlx.model import GPT
from trainer.engines.mlx.optim import Arrays, MuonAdamW
from trainer.engines.mlx.peak import measured_peak
from trainer.engines.mlx.seams import seam, seamed
from trainer.hardware import Choice, hardware_key, resident_peak_mb
from trainer.loop import MicroBatch
from trainer.ops import OpTable
from trainer.parameters import initial
from trainer.schedule import Rates
from trainer.scopes import scope

Function = TypeVar("Function", bound=Callable[..., Any])


class DoneLoss(NamedTuple):
    """The loss of a step, which is complete."""

    loss: float

    def wait(self) -> float:
        """The step's loss in nats per token, mean over all of its micro-batches."""
        return self.loss


class MLXEngine:
    """A model in training. See `trainer.loop.Engine` for what each method promises."""

    def __init__(
        self,
        name: str,
        config: TrainConfig,
        vocab: int,
        ops: OpTable,
        compile_model: bool | None = None,
    ) -> None:
        self.name, self.config, self.vocab = name, config, vocab
        # MLX queues so few operations ahead that a step in flight would only blur the step times
        self.steps_in_flight = 0
        self.device = choices.device()
        kind = self.device.value
        mx.set_default_device(mx.gpu if kind == "gpu" else mx.cpu)
        self.device_name = f"{hardware_key(name)}, MLX {version('mlx')} on the {kind}"
        compute, muon = choices.compute_dtype(kind), choices.muon_dtype(kind)
        compilation = choices.compilation(kind, compile_model)
        self.notes: dict[str, Choice] = {
            "device": self.device,
            "compute_dtype": compute,
            "muon_dtype": muon,
            "compile": compilation,
            "memory_limit": choices.memory(kind),
        }
        mx.reset_peak_memory()
        ops = seamed(ops)
        self.compute_dtype: mx.Dtype = getattr(mx, compute.value)
        self.model = GPT(config, ops, self.compute_dtype)
        self.optimizer = MuonAdamW(
            config,
            ops["muon_orthogonalize"].function,
            getattr(mx, muon.value),
            ops.whole("adamw_step"),
        )
        self.weights: Arrays = {n: mx.array(v) for n, v in initial(config, vocab, config.seed)}
        self.moments = self.optimizer.moments(self.weights)
        mx.eval(self.weights, self.moments)
        ready = mx.compile if compilation.value == "on" else _as_it_is
        self._losses = ready(self.model.losses)
        self._gradients = ready(self._loss_and_gradients)
        self._update = ready(self.optimizer.update)

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(weight.size for weight in self.weights.values())

    def step(self, micro_batches: Sequence[MicroBatch], rates: Rates) -> DoneLoss:
        """Forward and backward of every micro-batch, then one optimizer step."""
        loss, gradients = self.accumulated(micro_batches)
        self.weights, self.moments = self._update(
            self.weights, self.moments, gradients, self.optimizer.numbers(rates)
        )
        del gradients  # or their memory could not be used again
        mx.eval(loss, self.weights, self.moments)
        return DoneLoss(float(np.array(loss)))

    def token_losses(self, inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Loss in nats of each target, float32, of the targets' shape. Trains nothing."""
        losses = self._losses(self.weights, mx.array(inputs), mx.array(targets))
        return np.array(losses).reshape(targets.shape)

    def synchronize(self) -> None:
        """Returns when the device has nothing left to do."""
        mx.synchronize()

    def snapshot(self) -> tuple[Arrays, Arrays]:
        """All that a step changes. Arrays are immutable, so nothing is copied."""
        return dict(self.weights), dict(self.moments)

    def restore(self, snapshot: tuple[Arrays, Arrays]) -> None:
        """Goes back to a snapshot, bit for bit."""
        self.weights, self.moments = map(dict, snapshot)

    def save(self, folder: Path, state: dict[str, Any]) -> None:
        """Writes a checkpoint that holds `state` beside the weights and moments."""
        checkpoint.save(folder, _numpy(self.weights), _numpy(self.moments), state)

    def load(self, folder: Path, with_optimizer: bool = True) -> None:
        """Takes weights and moments from a checkpoint."""
        self.weights = _loaded(self.weights, checkpoint.load_weights(folder), "model")
        if with_optimizer:
            saved = checkpoint.load_optimizer(folder)
            self.moments = _loaded(self.moments, saved, "optimizer state")

    def peak_memory_mb(self) -> float:
        """Most memory used: by MLX on a GPU, or by the process on a CPU (MiB)."""
        return mx.get_peak_memory() / 2**20 if self.device.value == "gpu" else resident_peak_mb()

    def peak_flops(self) -> tuple[float, str]:
        """The FLOP/s that utilisation is measured against, and where the number is from."""
        return measured_peak(self.device.value, self.compute_dtype)

    def accumulated(self, micro_batches: Sequence[MicroBatch]) -> tuple[mx.array, Arrays]:
        """Mean loss of a step and its gradients; the last micro-batch's are not yet computed."""
        if not micro_batches:
            raise ValueError("a step needs at least one micro-batch")
        loss, gradients = mx.array(0.0), Arrays()
        for inputs, targets in micro_batches:
            mx.eval(loss, gradients)
            with scope("op:host_to_device"):
                given = mx.array(inputs), mx.array(targets)
                share = mx.array(1 / (targets.size * len(micro_batches)))
            more, new = self._gradients(self.weights, *given, share)
            loss = loss + more
            gradients = seam("gradient_accumulation", _sums, gradients, new) if gradients else new
        return loss, gradients

    def _loss_and_gradients(
        self, weights: Arrays, inputs: mx.array, targets: mx.array, share: mx.array
    ) -> tuple[mx.array, Arrays]:
        """A micro-batch's part of the mean loss, and that part's gradients."""

        def part(weights: Arrays) -> mx.array:
            losses = self.model.losses(weights, inputs, targets)
            return seam("loss_reduction", _weighted_sum, losses, share)

        loss, gradients = mx.value_and_grad(part)(weights)
        return loss, gradients


def _as_it_is(function: Function) -> Function:
    return function


def _weighted_sum(losses: mx.array, share: mx.array) -> mx.array:
    return (losses * share).sum()


def _sums(one: Mapping[str, mx.array], other: Mapping[str, mx.array]) -> Arrays:
    return {name: one[name] + array for name, array in other.items()}


def _numpy(arrays: Mapping[str, mx.array]) -> dict[str, np.ndarray]:
    return {name: np.array(array) for name, array in arrays.items()}


def _loaded(ours: Mapping[str, mx.array], saved: Mapping[str, np.ndarray], what: str) -> Arrays:
    checkpoint.check_fit({name: array.shape for name, array in ours.items()}, saved, what)
    return {name: mx.array(array) for name, array in saved.items()}
