"""What a run says for itself at its end: the `---` block of upstream, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainer.config import TrainConfig
from trainer.evaluate import Evaluation
from trainer.flops import flops_per_token, utilisation
from trainer.hardware import Choice
from trainer.loop import Position
from trainer.ops import OpTable


@dataclass(frozen=True)
class Report:
    """A finished or interrupted run."""

    config: TrainConfig
    preset: str
    data: str
    engine: str
    device: str
    hardware: str
    notes: Mapping[str, Choice]
    ops: OpTable
    data_sha256: str
    tokenizer_sha256: str
    vocab: int
    parameters: int
    position: Position
    step_ms: tuple[float, ...]
    """Every counted step of this process; those before a resume are not among them."""
    total_seconds: float
    peak_memory_mb: float
    peak_flops: tuple[float, str]
    interrupted: bool
    checkpoint: Path | None
    evaluation: Evaluation | None

    @property
    def total_tokens(self) -> int:
        """Tokens trained on."""
        return self.position.step * self.config.total_batch_size

    @property
    def tokens_per_second(self) -> float:
        """Over the counted steps of this process."""
        seconds = sum(self.step_ms) / 1e3
        return len(self.step_ms) * self.config.total_batch_size / seconds if seconds else 0.0

    @property
    def mfu_percent(self) -> float:
        """Model FLOPs utilisation over exactly the counted steps."""
        per_token = flops_per_token(self.config, self.vocab)
        seconds, peak = self.position.seconds, self.peak_flops[0]
        return utilisation(self.total_tokens, seconds, per_token, peak)

    def text(self) -> str:
        """The block: upstream's nine keys first, then what identifies the run."""
        bpb = f"{self.evaluation.val_bpb:.6f}" if self.evaluation else "not evaluated"
        loss = self.position.last_loss
        values = {
            "val_bpb": bpb,
            "training_seconds": f"{self.position.seconds:.1f}",
            "total_seconds": f"{self.total_seconds:.1f}",
            "peak_vram_mb": f"{self.peak_memory_mb:.1f}",
            "mfu_percent": f"{self.mfu_percent:.2f}",
            "total_tokens_M": f"{self.total_tokens / 1e6:.3f}",
            "num_steps": str(self.position.step),
            "num_params_M": f"{self.parameters / 1e6:.1f}",
            "depth": str(self.config.depth),
            "train_loss": "none" if loss is None else f"{loss:.6f}",
            "tokens_per_second": f"{self.tokens_per_second:.0f}",
            "mfu_peak": f"{self.peak_flops[0] / 1e12:.3f} TFLOP/s ({self.peak_flops[1]})",
            "eval_tokens": str(self.evaluation.tokens) if self.evaluation else "0",
            "engine": self.engine,
            "device": self.device,
            "hardware": self.hardware,
            "preset": self.preset,
            "seed": str(self.config.seed),
            "data": self.data,
            "data_sha256": self.data_sha256,
            "tokenizer_sha256": self.tokenizer_sha256,
            "checkpoint": str(self.checkpoint or "none"),
        }
        lines = [f"{key + ':':<17} {value}" for key, value in values.items()]
        return "\n".join(["---", *lines, *self.ops.lines()])

    def as_json(self) -> str:
        """The same as one line of JSON."""
        evaluation = self.evaluation
        content: dict[str, Any] = {
            "val_bpb": evaluation.val_bpb if evaluation else None,
            "training_seconds": self.position.seconds,
            "total_seconds": self.total_seconds,
            "peak_vram_mb": self.peak_memory_mb,
            "mfu_percent": self.mfu_percent,
            "total_tokens_M": self.total_tokens / 1e6,
            "num_steps": self.position.step,
            "num_params_M": self.parameters / 1e6,
            "depth": self.config.depth,
            "train_loss": self.position.last_loss,
            "tokens_per_second": self.tokens_per_second,
            "step_ms": self.step_ms,
            "steps": self.position.step,
            "mfu_peak": {"flops": self.peak_flops[0], "source": self.peak_flops[1]},
            "engine": self.engine,
            "device": self.device,
            "hardware": self.hardware,
            "notes": {name: note._asdict() for name, note in self.notes.items()},
            "preset": self.preset,
            "seed": self.config.seed,
            "data": self.data,
            "data_sha256": self.data_sha256,
            "tokenizer_sha256": self.tokenizer_sha256,
            "vocab": self.vocab,
            "ops": {
                name: {"sha256": op.sha256, "reason": op.reason, "path": str(op.path)}
                for name, op in self.ops.items()
            },
            "checkpoint": str(self.checkpoint) if self.checkpoint else None,
            "interrupted": self.interrupted,
            "config": asdict(self.config),
            "eval": asdict(evaluation) if evaluation else None,
        }
        return json.dumps(content)
