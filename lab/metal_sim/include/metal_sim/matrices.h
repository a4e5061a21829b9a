// Matrices (column major, as in Metal) and metal::array.
//
// Operators are friends inside of their classes: with one at namespace scope, clang does not
// resolve a swizzle (`v.xy * s`) inside of a template.
#pragma once
#include "metal_sim/vectors.h"

namespace metal {
template <class T, int C, int R>
struct matrix {
  vec<T, R> columns[C];
  matrix() = default;
  explicit constexpr matrix(T diagonal) : columns{} {
    for (int i = 0; i < C; i++)
      for (int j = 0; j < R; j++) columns[i].d[j] = i == j ? diagonal : T(0);
  }
  template <class... A, class = enable_if_t<sizeof...(A) == C>>
  constexpr matrix(A... each) : columns{vec<T, R>(each)...} {}
  template <class... A, class = enable_if_t<sizeof...(A) == C * R>, class = void>
  constexpr matrix(A... each) : columns{} {
    T values[] = {T(each)...};
    for (int i = 0; i < C; i++)
      for (int j = 0; j < R; j++) columns[i].d[j] = values[i * R + j];
  }
  template <class U> explicit constexpr matrix(matrix<U, C, R> other) : columns{} {
    for (int i = 0; i < C; i++) columns[i] = vec<T, R>(other.columns[i]);
  }
  constexpr vec<T, R>& operator[](size_t i) { return columns[i]; }
  constexpr const vec<T, R>& operator[](size_t i) const { return columns[i]; }
  friend constexpr matrix operator+(matrix a, matrix b) {
    for (int i = 0; i < C; i++) a.columns[i] += b.columns[i];
    return a;
  }
  friend constexpr matrix operator-(matrix a, matrix b) {
    for (int i = 0; i < C; i++) a.columns[i] -= b.columns[i];
    return a;
  }
  friend constexpr matrix operator*(matrix a, T s) {
    for (int i = 0; i < C; i++) a.columns[i] *= s;
    return a;
  }
  friend constexpr matrix operator*(T s, matrix a) { return a * s; }
  friend constexpr vec<T, R> operator*(matrix m, vec<T, C> v) {
    vec<T, R> sum(T(0));
    for (int i = 0; i < C; i++) sum += m.columns[i] * v.d[i];
    return sum;
  }
  friend constexpr vec<T, C> operator*(vec<T, R> v, matrix m) {
    vec<T, C> sums(T(0));
    for (int i = 0; i < C; i++)
      for (int j = 0; j < R; j++) sums.d[i] = T(sums.d[i] + v.d[j] * m.columns[i].d[j]);
    return sums;
  }
  template <int K> friend constexpr matrix<T, K, R> operator*(matrix a, matrix<T, K, C> b) {
    matrix<T, K, R> product(T(0));
    for (int i = 0; i < K; i++) product[i] = a * b[i];
    return product;
  }
  constexpr matrix& operator+=(matrix b) { return *this = *this + b; }
  constexpr matrix& operator-=(matrix b) { return *this = *this - b; }
  constexpr matrix& operator*=(T b) { return *this = *this * b; }
};

template <class T, int C, int R> constexpr matrix<T, R, C> transpose(matrix<T, C, R> m) {
  matrix<T, R, C> turned(T(0));
  for (int i = 0; i < C; i++)
    for (int j = 0; j < R; j++) turned[j].d[i] = m[i].d[j];
  return turned;
}
template <class T> constexpr T determinant(matrix<T, 2, 2> m) {
  return T(m[0].d[0] * m[1].d[1] - m[1].d[0] * m[0].d[1]);
}
template <class T> constexpr T determinant(matrix<T, 3, 3> m) {
  return T(m[0].d[0] * (m[1].d[1] * m[2].d[2] - m[2].d[1] * m[1].d[2]) -
           m[1].d[0] * (m[0].d[1] * m[2].d[2] - m[2].d[1] * m[0].d[2]) +
           m[2].d[0] * (m[0].d[1] * m[1].d[2] - m[1].d[1] * m[0].d[2]));
}
template <class T> constexpr T determinant(matrix<T, 4, 4> m) {
  T sum = T(0);
  for (int skipped = 0; skipped < 4; skipped++) {  // along the first row
    matrix<T, 3, 3> minor(T(0));
    for (int i = 0; i < 3; i++)
      for (int j = 0; j < 3; j++) minor[i].d[j] = m[i + (i >= skipped)].d[j + 1];
    T part = T(m[skipped].d[0] * determinant(minor));
    sum = T(skipped % 2 ? sum - part : sum + part);
  }
  return sum;
}

template <class T, size_t N> struct array {
  T elements[N];
  constexpr T& operator[](size_t i) { return elements[i]; }
  constexpr const T& operator[](size_t i) const { return elements[i]; }
  constexpr size_t size() const { return N; }
};

#define METAL_SIM_MATRICES(T)                                                                      \
  typedef matrix<T, 2, 2> T##2x2; typedef matrix<T, 2, 3> T##2x3; typedef matrix<T, 2, 4> T##2x4;  \
  typedef matrix<T, 3, 2> T##3x2; typedef matrix<T, 3, 3> T##3x3; typedef matrix<T, 3, 4> T##3x4;  \
  typedef matrix<T, 4, 2> T##4x2; typedef matrix<T, 4, 3> T##4x3; typedef matrix<T, 4, 4> T##4x4;
METAL_SIM_MATRICES(half)
METAL_SIM_MATRICES(float)
METAL_SIM_MATRICES(bfloat)
}  // namespace metal
