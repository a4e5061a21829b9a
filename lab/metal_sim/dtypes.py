"""Element types: their names in Metal, and bfloat16, which numpy does not have.

    bits = Bfloat16.of(array)       # rounded from float32
    bits.float32()                  # widened again

complex64 and float64 are not among them: Metal has no double, and complex kernels are not covered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from lab.metal_sim.errors import BadLaunch

METAL_NAMES = {
    "bool": "bool",
    "uint8": "uint8_t",
    "uint16": "uint16_t",
    "uint32": "uint32_t",
    "uint64": "uint64_t",
    "int8": "int8_t",
    "int16": "int16_t",
    "int32": "int32_t",
    "int64": "int64_t",
    "float16": "float16_t",
    "bfloat16": "bfloat16_t",
    "float32": "float",
}
"""As MLX writes them into a signature (mlx/backend/common/metal_kernel.cpp)."""
EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23}
_NOT_HERE = {
    "float64": "Metal has no double",
    "complex64": "the simulator does not cover complex kernels",
}


@dataclass(frozen=True, eq=False)
class Bfloat16:
    """An array of bfloat16, held as its bit patterns (uint16)."""

    bits: np.ndarray

    def __post_init__(self) -> None:
        if self.bits.dtype != np.uint16:
            raise BadLaunch(f"Bfloat16 holds uint16 bit patterns, not {self.bits.dtype}.")

    @classmethod
    def of(cls, values: np.ndarray) -> Bfloat16:
        """Rounded to the nearest, ties to even, from float32."""
        wide = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
        rounded = (wide + (0x7FFF + ((wide >> 16) & 1))) >> 16
        quiet = (wide >> 16) | 0x40
        nan = (wide & 0x7FFFFFFF) > 0x7F800000
        return cls(np.where(nan, quiet, rounded).astype(np.uint16).reshape(np.shape(values)))

    def float32(self) -> np.ndarray:
        """The values; every bfloat16 is a float32."""
        return (self.bits.astype(np.uint32) << 16).view(np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.bits.shape


Array: TypeAlias = np.ndarray | Bfloat16
Input: TypeAlias = np.ndarray | Bfloat16 | bool | int | float


def dtype_name(given: object) -> str:
    """The name of a numpy dtype, of an MLX dtype or of a string such as "bfloat16"."""
    name = str(given).removeprefix("mlx.core.").removesuffix("_")
    if name not in METAL_NAMES:
        try:
            name = np.dtype(given).name  # type: ignore[call-overload]
        except TypeError:
            name = str(given)
    if name not in METAL_NAMES:
        why = _NOT_HERE.get(name, f"known are {', '.join(METAL_NAMES)}")
        raise BadLaunch(f"dtype {name}: {why}.")
    return name


def as_array(given: Input) -> tuple[str, np.ndarray]:
    """A dtype's name and the stored elements. Python's scalars become what MLX makes of them."""
    if isinstance(given, Bfloat16):
        return "bfloat16", given.bits
    if isinstance(given, np.ndarray):
        if not given.dtype.isnative:
            raise BadLaunch(f"an input has the byte order of another machine: {given.dtype.str}.")
        return dtype_name(given.dtype), given
    if not isinstance(given, bool | int | float | np.generic):
        raise BadLaunch(f"an input must be an array or a number, not {type(given).__name__}.")
    kind = (
        np.bool_ if isinstance(given, bool) else np.int32 if isinstance(given, int) else np.float32
    )
    try:
        array = np.array(given, dtype=kind)
    except (OverflowError, TypeError, ValueError) as error:
        raise BadLaunch(f"an input must be an array or a number: {error}.") from error
    return array.dtype.name, array


def stored_dtype(name: str) -> np.dtype:
    """What numpy stores a dtype's elements as."""
    return np.dtype(np.uint16 if name == "bfloat16" else name)


def as_output(name: str, stored: np.ndarray) -> Array:
    """The array to hand out for stored elements."""
    return Bfloat16(stored) if name == "bfloat16" else stored


def values_of(array: Array) -> np.ndarray:
    """Values to compare: bfloat16 widened."""
    return array.float32() if isinstance(array, Bfloat16) else array
