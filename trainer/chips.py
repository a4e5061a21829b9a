"""What is known beforehand about accelerators: cores, memory bandwidth, matrix arithmetic.

    chip = nvidia("NVIDIA H100 80GB HBM3")       # by the name that the driver gives
    chip = apple("Apple M4 Max", gpu_cores=40)   # by the brand string and the GPU's cores

Bandwidths and NVIDIA's peaks are from the makers' data sheets, without sparsity. Apple publishes no
arithmetic peak: those are cores x 128 multiply-adds x clock, and say so. A chip that is not listed
is None, and whoever asks measures instead. Imports no framework and asks the machine nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DATA_SHEET = "data sheet"
ESTIMATED = "estimated from cores and clock"


@dataclass(frozen=True)
class Chip:
    """One accelerator. GB/s and TFLOP/s count 10^9 and 10^12 per second."""

    name: str
    cores: int
    """Streaming multiprocessors, or cores of an Apple GPU."""
    bandwidth_gb_s: float
    bfloat16_tflop_s: float
    """Dense matrix products in bfloat16 that accumulate in float32."""
    unified: bool = False
    """Whether it shares one memory with the CPU."""
    source: str = DATA_SHEET
    """Where the arithmetic peak is from."""

    @property
    def tier(self) -> str:
        """Apple's words for the size of a chip; empty for others."""
        match = re.fullmatch(r"Apple M\d+ ?(Pro|Max|Ultra)?", self.name)
        return (match[1] or "base").lower() if match else ""


NVIDIA = {
    chip.name: chip
    for chip in (
        Chip("A100 40GB PCIe", 108, 1555, 312),
        Chip("A100 40GB SXM", 108, 1555, 312),
        Chip("A100 80GB PCIe", 108, 1935, 312),
        Chip("A100 80GB SXM", 108, 2039, 312),
        Chip("H100 PCIe", 114, 2039, 756),
        Chip("H100 NVL", 132, 3938, 835),
        Chip("H100 SXM", 132, 3352, 989.5),
        Chip("H200 NVL", 132, 4800, 835),
        Chip("H200 SXM", 132, 4800, 989.5),
        Chip("B200", 148, 8000, 2250),
        Chip("GB10", 48, 273, 125, unified=True, source="a quarter of NVIDIA's dense FP4 figure"),
        Chip("A10", 72, 600, 125),
        Chip("A40", 84, 696, 149.7),
        Chip("RTX A6000", 84, 768, 154.8),
        Chip("RTX 3060", 28, 360, 25.5),
        Chip("RTX 3070", 46, 448, 40.6),
        Chip("RTX 3080", 68, 760, 59.5),
        Chip("RTX 3090", 82, 936, 71),
        Chip("RTX 3090 Ti", 84, 1008, 80),
        Chip("L4", 58, 300, 121),
        Chip("L40S", 142, 864, 362),
        Chip("RTX 6000 Ada", 142, 960, 364.2),
        Chip("RTX 4060", 24, 272, 30.2),
        Chip("RTX 4070", 46, 504, 58.3),
        Chip("RTX 4080", 76, 717, 97.5),
        Chip("RTX 4090", 128, 1008, 165.2),
    )
}
"""Data-centre and workstation cards count tensor cores at full rate, GeForce ones at the half rate
that they have when they accumulate in float32."""

_SEVERAL_BOARDS = ("A100", "H100", "H200")
_OTHER_FORMS = ("PCIe", "NVL")
"""Words of a driver's name that tell the board; else it is the SXM module, as in `NVIDIA H100 80GB
HBM3`."""


def nvidia(name: str) -> Chip | None:
    """The chip behind a driver's `name`, or None. `RTX 4080 SUPER` and laptop chips are not listed
    with their desktop namesakes, which they do not equal."""
    words = name.removeprefix("NVIDIA ").removeprefix("GeForce ").replace("-", " ").split()
    model = " ".join(word for word in words if word not in ("Generation", "Graphics"))
    if model in NVIDIA:
        return NVIDIA[model]
    series = words[0] if words else ""
    if series not in _SEVERAL_BOARDS:
        return None
    form = next((f for f in _OTHER_FORMS if any(w.startswith(f) for w in words[1:])), "SXM")
    if series == "A100":
        return NVIDIA[f"A100 {'80' if '80GB' in words else '40'}GB {form}"]
    return NVIDIA.get(f"{series} {form}")


_CLOCK_GHZ = {1: 1.278, 2: 1.398, 3: 1.38, 4: 1.578, 5: 1.62}
"""GPU clocks as measured by others; Apple publishes none."""
_MULTIPLY_ADDS = 128
"""Of one GPU core in one cycle, in float32 and bfloat16 alike (M1 to M4)."""
_MATRIX_UNITS = {5: 4.0}
"""M5's cores have matrix units: "over four times" the arithmetic of M4's, by Apple's word."""
_BANDWIDTH_GB_S: dict[str, tuple[tuple[int, float], ...]] = {
    "M1": ((8, 68.3),),
    "M1 Pro": ((16, 200),),
    "M1 Max": ((32, 400),),
    "M1 Ultra": ((64, 800),),
    "M2": ((10, 100),),
    "M2 Pro": ((19, 200),),
    "M2 Max": ((38, 400),),
    "M2 Ultra": ((76, 800),),
    "M3": ((10, 100),),
    "M3 Pro": ((18, 150),),
    "M3 Max": ((30, 300), (40, 400)),
    "M3 Ultra": ((80, 819),),
    "M4": ((10, 120),),
    "M4 Pro": ((20, 273),),
    "M4 Max": ((32, 410), (40, 546)),
    "M5": ((10, 153),),
    "M5 Pro": ((20, 307),),
    "M5 Max": ((32, 460), (40, 614)),
}
"""By chip: (up to so many GPU cores, GB/s), from Apple's technical specifications."""


def apple(brand: str, gpu_cores: int | None = None) -> Chip | None:
    """The chip behind `machdep.cpu.brand_string`, or None for what is not listed.

    Without `gpu_cores` the largest version of the chip is taken: few are smaller by more than a
    quarter.
    """
    model = brand.removeprefix("Apple ").strip()
    if model not in _BANDWIDTH_GB_S:
        return None
    versions = _BANDWIDTH_GB_S[model]
    cores = gpu_cores or versions[-1][0]
    bandwidth = next((rate for most, rate in versions if cores <= most), versions[-1][1])
    generation = int(model[1])
    gflop_s = cores * 2 * _MULTIPLY_ADDS * _CLOCK_GHZ[generation]
    return Chip(
        name=f"Apple {model}",
        cores=cores,
        bandwidth_gb_s=bandwidth,
        bfloat16_tflop_s=round(gflop_s * _MATRIX_UNITS.get(generation, 1.0) / 1000, 1),
        unified=True,
        source=ESTIMATED,
    )
