"""The accelerators of this machine, and what is known of each or was measured.

    for accelerator in look():
        print(accelerator.engine, accelerator)

A listed chip has its data sheet's numbers (`trainer.chips`); everything else is measured with
`lab.roofline`, and each number says which. Looks only: nothing here decides evidence, whose floors
are always measured.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from lab.machine import memory_gib
from trainer import chips, system
from trainer.system import Ask

MEASURED = "measured"


@dataclass(frozen=True)
class Accelerator:
    """What one engine computes on. GB/s and TFLOP/s count 10^9 and 10^12 per second."""

    engine: str
    name: str
    cores: int | None
    memory_gib: float
    unified: bool
    bandwidth_gb_s: float
    peak_tflop_s: float
    """Matrix products in the dtype that the engine trains in."""
    bandwidth_source: str
    peak_source: str
    tier: str = ""

    def __str__(self) -> str:
        cores = "" if self.cores is None else f"{self.cores} {_CORES[self.engine]}, "
        tier = f", {self.tier} tier" if self.tier else ""
        shared = " shared with the CPU" if self.unified and self.engine != "cpu" else ""
        return (
            f"{self.name}{tier}, {cores}{self.memory_gib:.0f} GiB{shared}, "
            f"{self.bandwidth_gb_s:,.0f} GB/s ({self.bandwidth_source}), "
            f"{self.peak_tflop_s:,.2f} TFLOP/s ({self.peak_source})"
        )


_CORES = {"cuda": "SMs", "mlx": "GPU cores", "cpu": "cores"}


def look(ask: Ask = system.ask, platform: str = sys.platform) -> Iterator[Accelerator]:
    """Each NVIDIA GPU, the Apple GPU, the CPU. Measures what is not listed."""
    yield from (_nvidia(gpu) for gpu in system.nvidia_gpus(ask))
    if platform == "darwin":
        yield from _apple(ask)
    yield _cpu()


def _nvidia(gpu: system.NvidiaGpu) -> Accelerator:
    """A GPU without memory of its own shares the machine's."""
    own_gib = memory_gib() if gpu.memory_mib is None else gpu.memory_mib / 1024
    chip = chips.nvidia(gpu.name)
    if chip is not None:
        return _listed("cuda", chip, own_gib)
    unified = gpu.memory_mib is None
    found = _measured("cuda", "bfloat16")
    return Accelerator("cuda", gpu.name, _multiprocessors(), own_gib, unified, *found)


def _apple(ask: Ask) -> Iterator[Accelerator]:
    brand = ask("sysctl", "-n", "machdep.cpu.brand_string")
    cores = system.apple_gpu_cores(ask)
    chip = chips.apple(brand, cores)
    memory = ask("sysctl", "-n", "hw.memsize")
    shared_gib = int(memory) / 2**30 if memory.isdigit() else memory_gib()
    if chip is not None:
        yield _listed("mlx", chip, shared_gib)
    elif cores is not None:  # a chip that is newer than this table
        yield Accelerator("mlx", brand, cores, shared_gib, True, *_measured("mps", "bfloat16"))


def _listed(engine: str, chip: chips.Chip, memory_gib: float) -> Accelerator:
    return Accelerator(
        engine,
        chip.name if engine == "mlx" else f"NVIDIA {chip.name}",
        chip.cores,
        memory_gib,
        chip.unified,
        chip.bandwidth_gb_s,
        chip.bfloat16_tflop_s,
        chips.DATA_SHEET,
        chip.source,
        chip.tier,
    )


def _cpu() -> Accelerator:
    from trainer.hardware import usable_cores

    found = _measured("cpu", "float32")
    return Accelerator("cpu", system.cpu_model(), usable_cores(), memory_gib(), True, *found)


def _measured(engine: str, dtype: str) -> tuple[float, float, str, str]:
    """GB/s of main memory and TFLOP/s, and the source of each; zeros where torch cannot use the
    device."""
    import torch

    from lab import roofline

    usable = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not usable[engine]:
        unknown = "not listed, and this torch cannot measure it"
        return 0.0, 0.0, unknown, unknown
    found = roofline.measure(engine)
    return found.memory_gb_s, found.peak(dtype) / 1000, MEASURED, MEASURED


def _multiprocessors() -> int | None:
    import torch

    if not torch.cuda.is_available():
        return None
    return int(torch.cuda.get_device_properties(0).multi_processor_count)
