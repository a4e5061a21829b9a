"""The torch engine: one model and its optimizer on a CPU, an NVIDIA GPU or an Apple GPU.

    engine = TorchEngine("cpu", config, vocab, ops, compile_model=None)
    pending = engine.step(micro_batches, rates)      # launches one optimizer step
    loss = pending.wait()                            # its mean loss, once the device got there

It obeys `trainer.loop.Engine`; the loop, the evaluation and the checkpoints use nothing else of it.
What it decides by itself (dtypes, compilation, allocator) it says in `notes`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer import checkpoint
from trainer.config import TrainConfig
from trainer.engines.torch import choices
from trainer.engines.torch.allocator import keep_freed_memory
from trainer.engines.torch.model import GPT
from trainer.engines.torch.optim import MuonAdamW
from trainer.engines.torch.peak import peak_flops
from trainer.hardware import Choice, hardware_key, resident_peak_mb
from trainer.loop import MicroBatch
from trainer.ops import OpTable
from trainer.schedule import Rates
from trainer.scopes import scope


class PendingLoss:
    """The loss of a step that may still be running. `wait` returns when the step is complete."""

    def __init__(self, loss: Tensor) -> None:
        self._loss = loss
        self._event: torch.cuda.Event | None = None
        if loss.is_cuda:
            # a fresh pinned cell for each step: nothing is overwritten before it is read
            self._loss = torch.empty((), dtype=loss.dtype, pin_memory=True)
            self._loss.copy_(loss, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()

    def wait(self) -> float:
        """The step's loss in nats per token, mean over all of its micro-batches."""
        if self._event is not None:
            self._event.synchronize()
        return self._loss.item()


class TorchEngine:
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
        self.device = torch.device(name)
        self.device_name = (
            f"cpu, {torch.get_num_threads()} threads" if name == "cpu" else hardware_key(name)
        )
        self.steps_in_flight = 1 if name == "cuda" else 0
        compute, muon = choices.compute_dtype(name), choices.muon_dtype(name)
        compilation = choices.compilation(name, compile_model)
        self.notes = {"compute_dtype": compute, "muon_dtype": muon, "compile": compilation}
        self.compute_dtype: torch.dtype = getattr(torch, compute.value)
        if name == "cpu" and keep_freed_memory():
            self.notes["allocator"] = Choice("keeps memory", "so that a step maps no pages")
        if name == "cuda":
            torch.set_float32_matmul_precision("high")  # TF32 where float32 is left, as upstream
            torch.cuda.reset_peak_memory_stats()
        self.model = GPT(config, vocab, ops, self.compute_dtype).initialise(config.seed)
        self.model.to(self.device)
        self.optimizer = MuonAdamW(
            self.model,
            config,
            ops["muon_orthogonalize"].function,
            getattr(torch, muon.value),
            ops.whole("adamw_step"),
        )
        self._losses: Callable[[Tensor, Tensor], Tensor] = self.model
        if compilation.value == "on":
            self._losses = torch.compile(self.model, dynamic=False)
        self._loss_gradients: dict[tuple[int, int], Tensor] = {}

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def step(self, micro_batches: Sequence[MicroBatch], rates: Rates) -> PendingLoss:
        """Forward and backward of every micro-batch, then one optimizer step."""
        total: Tensor | None = None
        for inputs, targets in micro_batches:
            losses = self._losses(*self._on_device(inputs, targets))
            gradient = self._loss_gradient(losses.numel(), len(micro_batches))
            losses.backward(gradient)
            with scope("op:loss_reduction"):
                share = torch.dot(losses.detach(), gradient)
                total = share if total is None else total + share
        self.optimizer.step(rates)
        self.optimizer.clear_gradients()
        if total is None:
            raise ValueError("a step needs at least one micro-batch")
        return PendingLoss(total)

    def token_losses(self, inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Loss in nats of each target, float32, of the targets' shape. Trains nothing."""
        with torch.inference_mode():
            losses = self.model(*self._on_device(inputs, targets))
        return losses.view(targets.shape).float().cpu().numpy()

    def synchronize(self) -> None:
        """Returns when the device has nothing left to do."""
        if self.name == "cuda":
            torch.cuda.synchronize()
        elif self.name == "mps":
            torch.mps.synchronize()

    def snapshot(self) -> dict[str, Tensor]:
        """A copy of all that a step changes."""
        return {name: tensor.detach().clone() for name, tensor in self._state().items()}

    def restore(self, snapshot: dict[str, Tensor]) -> None:
        """Goes back to a snapshot, bit for bit."""
        for name, tensor in self._state().items():
            tensor.detach().copy_(snapshot[name])

    def save(self, folder: Path, state: dict[str, Any]) -> None:
        """Writes a checkpoint that holds `state` beside the weights and moments."""
        self.synchronize()
        checkpoint.save(folder, _arrays(self._weights()), _arrays(self.optimizer.state()), state)

    def load(self, folder: Path, with_optimizer: bool = True) -> None:
        """Takes weights and moments from a checkpoint."""
        _copy_into(self._weights(), checkpoint.load_weights(folder), "model")
        if with_optimizer:
            saved = checkpoint.load_optimizer(folder)
            _copy_into(self.optimizer.state(), saved, "optimizer state")

    def peak_memory_mb(self) -> float:
        """Most memory used: of the device, or of the process on a CPU (MiB)."""
        if self.name == "cuda":
            return torch.cuda.max_memory_allocated() / 2**20
        if self.name == "mps":
            return torch.mps.driver_allocated_memory() / 2**20
        return resident_peak_mb()

    def peak_flops(self) -> tuple[float, str]:
        """The FLOP/s that utilisation is measured against, and where the number is from."""
        return peak_flops(self.device, self.compute_dtype)

    def _on_device(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[Tensor, Tensor]:
        with scope("op:host_to_device"):
            x, y = torch.from_numpy(inputs), torch.from_numpy(targets)
            if self.name != "cuda":
                return x.to(self.device), y.to(self.device)
            # fresh pinned memory, which torch frees only once the copy has happened
            x, y = x.pin_memory(), y.pin_memory()
            return x.to(self.device, non_blocking=True), y.to(self.device, non_blocking=True)

    def _loss_gradient(self, tokens: int, micro_batches: int) -> Tensor:
        """d(mean loss of the step) / d(loss of a token). Batches have no padding: all count."""
        key = (tokens, micro_batches)
        if key not in self._loss_gradients:
            value = 1 / (tokens * micro_batches)
            self._loss_gradients[key] = torch.full((tokens,), value, device=self.device)
        return self._loss_gradients[key]

    def _weights(self) -> dict[str, Tensor]:
        return dict(self.model.named_parameters())

    def _state(self) -> dict[str, Tensor]:
        return {**self._weights(), **self.optimizer.state()}


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}


def _copy_into(tensors: Mapping[str, Tensor], saved: Mapping[str, np.ndarray], what: str) -> None:
    checkpoint.check_fit({name: tuple(t.shape) for name, t in tensors.items()}, saved, what)
    for name, tensor in tensors.items():
        tensor.detach().copy_(torch.from_numpy(saved[name]))
