// simdgroup_matrix: 8 x 8 only, two elements a lane.
//
// Apple does not document which lane holds which element; this is the map that MLX's steel kernels
// rely on (mlx/backend/metal/kernels/steel/gemm/mma.h).
#pragma once
#include "metal_sim/simdgroup.h"

namespace metal {
METAL_SIM_UNCHECKED inline int matrix_row(int lane) { return ((lane / 4) & 4) + (lane / 2) % 4; }
METAL_SIM_UNCHECKED inline int matrix_column(int lane) {
  return ((lane / 4) & 2) * 2 + (lane % 2) * 2;
}

template <class T, int Columns = 8, int Rows = 8> struct simdgroup_matrix {
  static_assert(Columns == 8 && Rows == 8, "a simdgroup_matrix is 8 x 8");
  static_assert(is_floating_point_v<T>, "a simdgroup_matrix holds float, half or bfloat");
  typedef vec<T, 2> storage_type;
  storage_type elements;
  simdgroup_matrix() = default;
  METAL_SIM_INLINE explicit simdgroup_matrix(T diagonal) {
    int row = matrix_row(metal_sim_lane()), column = matrix_column(metal_sim_lane());
    elements = storage_type(row == column ? diagonal : T(0), row == column + 1 ? diagonal : T(0));
  }
  template <class B>
  friend METAL_SIM_INLINE simdgroup_matrix operator*(simdgroup_matrix a,
                                                     simdgroup_matrix<B, 8, 8> b) {
    simdgroup_matrix product;
    simdgroup_multiply(product, a, b);
    return product;
  }
  METAL_SIM_INLINE storage_type& thread_elements() { return elements; }
  METAL_SIM_INLINE const storage_type& thread_elements() const { return elements; }
};
typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;
typedef simdgroup_matrix<half, 8, 8> simdgroup_half8x8;
typedef simdgroup_matrix<bfloat, 8, 8> simdgroup_bfloat8x8;

template <class T, int Columns, int Rows = Columns>
METAL_SIM_INLINE simdgroup_matrix<T, Columns, Rows> make_filled_simdgroup_matrix(T value) {
  simdgroup_matrix<T, Columns, Rows> filled;
  filled.elements = vec<T, 2>(value);
  return filled;
}
METAL_SIM_UNCHECKED inline void expect_whole(const metal_sim_exchange* from) {
  if (from->active != 0xffffffffu) metal_sim_partial_matrix();
}

// Where element `i` of this lane lies in memory.
METAL_SIM_INLINE long matrix_offset(ulong stride, ulong2 origin, bool transposed, int i) {
  long row = matrix_row(metal_sim_lane()), column = matrix_column(metal_sim_lane()) + i;
  if (transposed) return ((long)origin.y + column) * (long)stride + (long)origin.x + row;
  return ((long)origin.y + row) * (long)stride + (long)origin.x + column;
}
#define METAL_SIM_MATRIX_LOAD(SPACE)                                                               \
  template <class T, class P>                                                                      \
  METAL_SIM_INLINE void simdgroup_load(simdgroup_matrix<T, 8, 8>& into, const SPACE P* from,       \
                                       ulong stride = 8, ulong2 origin = ulong2(0),                \
                                       bool transposed = false) {                                  \
    expect_whole(collected(true));                                                                 \
    T first = T(from[matrix_offset(stride, origin, transposed, 0)]);                               \
    into.elements = vec<T, 2>(first, T(from[matrix_offset(stride, origin, transposed, 1)]));       \
  }
METAL_SIM_FOR_READING(METAL_SIM_MATRIX_LOAD)
#define METAL_SIM_MATRIX_STORE(SPACE)                                                              \
  template <class T, class P>                                                                      \
  METAL_SIM_INLINE void simdgroup_store(simdgroup_matrix<T, 8, 8> value, SPACE P* to,              \
                                        ulong stride = 8, ulong2 origin = ulong2(0),               \
                                        bool transposed = false) {                                 \
    expect_whole(collected(true));                                                                 \
    to[matrix_offset(stride, origin, transposed, 0)] = value.elements.d[0];                        \
    to[matrix_offset(stride, origin, transposed, 1)] = value.elements.d[1];                        \
  }
METAL_SIM_FOR_MEMORY(METAL_SIM_MATRIX_STORE)

// One lane's part of d = a * b + c: what it hands in, and its two sums.
template <class A, class B, class C> struct matrix_operands {
  vec<A, 2> a;
  vec<B, 2> b;
  vec<C, 2> c;
  float sums[2];
};
template <class A, class B, class C>
METAL_SIM_UNCHECKED void multiply_matrices(metal_sim_exchange* exchange) {
  typedef matrix_operands<A, B, C> Operands;
  static_assert(sizeof(Operands) <= METAL_SIM_SLOT_BYTES);
  float a[8][8], b[8][8];
  for (int lane = 0; lane < METAL_SIM_LANES; lane++) {
    Operands given = taken<Operands>(exchange->slots[lane]);
    for (int i = 0; i < 2; i++) {
      a[matrix_row(lane)][matrix_column(lane) + i] = (float)given.a.d[i];
      b[matrix_row(lane)][matrix_column(lane) + i] = (float)given.b.d[i];
    }
  }
  for (int lane = 0; lane < METAL_SIM_LANES; lane++) {
    Operands given = taken<Operands>(exchange->slots[lane]);
    for (int i = 0; i < 2; i++) {
      float sum = (float)given.c.d[i];
      for (int k = 0; k < 8; k++)
        sum = __builtin_fmaf(a[matrix_row(lane)][k], b[k][matrix_column(lane) + i], sum);
      given.sums[i] = sum;
    }
    __builtin_memcpy(exchange->slots[lane], &given, sizeof given);
  }
}
template <class D, class A, class B, class C>
METAL_SIM_INLINE void simdgroup_multiply_accumulate(simdgroup_matrix<D, 8, 8>& d,
                                                    simdgroup_matrix<A, 8, 8> a,
                                                    simdgroup_matrix<B, 8, 8> b,
                                                    simdgroup_matrix<C, 8, 8> c) {
  typedef matrix_operands<A, B, C> Operands;
  const metal_sim_exchange* exchange = collected(
      Operands{a.elements, b.elements, c.elements, {0.0f, 0.0f}}, multiply_matrices<A, B, C>);
  expect_whole(exchange);
  Operands found = taken<Operands>(exchange->slots[metal_sim_lane()]);
  d.elements = vec<D, 2>(D(found.sums[0]), D(found.sums[1]));
}
template <class D, class A, class B>
METAL_SIM_INLINE void simdgroup_multiply(simdgroup_matrix<D, 8, 8>& d, simdgroup_matrix<A, 8, 8> a,
                                         simdgroup_matrix<B, 8, 8> b) {
  simdgroup_multiply_accumulate(d, a, b, make_filled_simdgroup_matrix<D, 8, 8>(D(0)));
}
}  // namespace metal
