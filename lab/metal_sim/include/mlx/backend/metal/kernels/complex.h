// Stands in for MLX's header of this name, which overloads constructors on address spaces. It is
// enough for MLX's own headers; a kernel with complex inputs or outputs is refused (dtypes.py).
#pragma once
#include <metal_stdlib>

#include "mlx/backend/metal/kernels/bf16.h"

using namespace metal;

template <typename T> struct complex_t {
  using value_type = T;
  T real;
  T imag;
  constexpr complex_t() : real(0), imag(0) {}
  constexpr complex_t(T re, T im) : real(re), imag(im) {}
  template <typename U, typename = enable_if_t<is_arithmetic_v<U>>>
  constexpr complex_t(U re) : real(static_cast<T>(re)), imag(static_cast<T>(0)) {}
  friend constexpr complex_t operator+(complex_t a, complex_t b) {
    return {a.real + b.real, a.imag + b.imag};
  }
  friend constexpr complex_t operator-(complex_t a, complex_t b) {
    return {a.real - b.real, a.imag - b.imag};
  }
  friend constexpr complex_t operator*(complex_t a, complex_t b) {
    return {a.real * b.real - a.imag * b.imag, a.real * b.imag + a.imag * b.real};
  }
  friend constexpr complex_t operator/(complex_t a, complex_t b) {
    T whole = b.real * b.real + b.imag * b.imag;
    return {(a.real * b.real + a.imag * b.imag) / whole, (a.imag * b.real - a.real * b.imag) / whole};
  }
  friend constexpr complex_t operator%(complex_t a, complex_t b) {  // part by part, as MLX does
    return {remainder(a.real, b.real), remainder(a.imag, b.imag)};
  }
  static constexpr T remainder(T a, T b) {
    T r = a - b * static_cast<T>(static_cast<int64_t>(a / b));
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
  }
  friend constexpr complex_t operator-(complex_t a) { return {-a.real, -a.imag}; }
  friend constexpr bool operator==(complex_t a, complex_t b) {
    return a.real == b.real && a.imag == b.imag;
  }
  friend constexpr bool operator!=(complex_t a, complex_t b) { return !(a == b); }
  friend constexpr bool operator<(complex_t a, complex_t b) {
    return a.real < b.real || (a.real == b.real && a.imag < b.imag);
  }
  friend constexpr bool operator>(complex_t a, complex_t b) { return b < a; }
  friend constexpr bool operator<=(complex_t a, complex_t b) { return !(b < a); }
  friend constexpr bool operator>=(complex_t a, complex_t b) { return !(a < b); }
};
using complex64_t = complex_t<float>;
template <typename T> static constexpr bool is_complex_v = false;
template <typename T> static constexpr bool is_complex_v<complex_t<T>> = true;
template <typename From, typename To>
static constexpr bool is_lane_convertible_v = is_convertible_v<From, To>;
