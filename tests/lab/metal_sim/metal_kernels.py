"""Whole kernels, of the kinds that a trainer needs, which metal_mutated.py plants bugs into.

Each is the body that `mx.fast.metal_kernel` takes. The comments behind the barriers are what the
mutations find them by.
"""

MATMUL = """
    threadgroup float left[16][16];
    threadgroup float right[16][17];
    uint2 t = thread_position_in_threadgroup.xy, corner = threadgroup_position_in_grid.xy * 16;
    uint rows = a_shape[0], inner = a_shape[1], columns = b_shape[1];
    uint row = corner.y + t.y, column = corner.x + t.x;
    float sum = 0;
    for (uint k = 0; k < inner; k += 16) {
      left[t.y][t.x] = row < rows && k + t.x < inner ? a[row * inner + k + t.x] : 0;
      right[t.y][t.x] = k + t.y < inner && column < columns ? b[(k + t.y) * columns + column] : 0;
      threadgroup_barrier(mem_flags::mem_threadgroup); // the tile
      for (uint i = 0; i < 16; i++) sum += left[t.y][i] * right[i][t.x];
      threadgroup_barrier(mem_flags::mem_threadgroup); // before the next tile
    }
    if (row < rows && column < columns) out[row * columns + column] = sum;
"""
SIMDGROUP_MATMUL = """
    threadgroup T a[8 * 8];
    threadgroup T b[8 * 16];
    uint t = thread_index_in_threadgroup, simdgroup = simdgroup_index_in_threadgroup;
    uint inner = lhs_shape[1], columns = rhs_shape[1];
    uint2 corner = threadgroup_position_in_grid.xy * uint2(16, 8);
    simdgroup_float8x8 sum(0);
    for (uint k = 0; k < inner; k += 8) {
      a[t] = lhs[(corner.y + t / 8) * inner + k + t % 8];
      for (uint i = t; i < 128; i += 64) b[i] = rhs[(k + i / 16) * columns + corner.x + i % 16];
      threadgroup_barrier(mem_flags::mem_threadgroup); // staged
      simdgroup_matrix<T, 8, 8> left, right;
      simdgroup_load(left, a, 8);
      simdgroup_load(right, b + 8 * simdgroup, 16);
      simdgroup_multiply_accumulate(sum, left, right, sum);
      threadgroup_barrier(mem_flags::mem_threadgroup); // used
    }
    simdgroup_store(sum, out + corner.y * columns + corner.x + 8 * simdgroup, columns);
"""
SOFTMAX = """
    threadgroup float maxima[32];
    threadgroup float sums[32];
    uint row = threadgroup_position_in_grid.x, t = thread_index_in_threadgroup;
    uint n = threads_per_threadgroup.x, width = inp_shape[1], lane = thread_index_in_simdgroup;
    uint simdgroup = simdgroup_index_in_threadgroup, simdgroups = simdgroups_per_threadgroup;
    const device float* x = inp + row * width;
    float most = -INFINITY, sum = 0;
    for (uint i = t; i < width; i += n) {
      float next = max(most, x[i]);
      sum = sum * metal::exp(most - next) + metal::exp(x[i] - next);
      most = next;
    }
    float whole = simd_max(most);
    sum = simd_sum(sum * metal::exp(most - whole));
    if (lane == 0) { maxima[simdgroup] = whole; sums[simdgroup] = sum; }
    threadgroup_barrier(mem_flags::mem_threadgroup); // partial results
    if (simdgroup == 0) {
      float mine = lane < simdgroups ? maxima[lane] : -INFINITY;
      float all = simd_max(mine);
      float total = simd_sum(lane < simdgroups ? sums[lane] * metal::exp(mine - all) : 0.0f);
      if (lane == 0) { maxima[0] = all; sums[0] = total; }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup); // the result
    float scale = 1 / sums[0];
    for (uint i = t; i < width; i += n) out[row * width + i] = metal::exp(x[i] - maxima[0]) * scale;
"""
RMS_NORM = """
    threadgroup float partial[32];
    threadgroup float scale[1];
    uint row = threadgroup_position_in_grid.x, t = thread_index_in_threadgroup;
    uint lane = thread_index_in_simdgroup, simdgroup = simdgroup_index_in_threadgroup;
    uint width = inp_shape[1], n = threads_per_threadgroup.x;
    const device half* x = inp + row * width;
    float sum = 0;
    for (uint k = t * 4; k < width; k += n * 4)
      for (uint j = k; j < k + 4; j++)
        if (j < width) sum += float(x[j]) * float(x[j]);
    sum = simd_sum(sum);
    if (simdgroup == 0) partial[lane] = 0;
    threadgroup_barrier(mem_flags::mem_threadgroup); // cleared
    if (lane == 0) partial[simdgroup] = sum;
    threadgroup_barrier(mem_flags::mem_threadgroup); // partial sums
    if (simdgroup == 0) {
      sum = simd_sum(partial[lane]);
      if (lane == 0) scale[0] = metal::precise::rsqrt(sum / width + 1e-5f);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup); // the scale
    for (uint k = t; k < width; k += n)
      out[row * width + k] = half(float(x[k]) * scale[0] * float(weight[k]));
"""
CROSS_ENTROPY = """
    threadgroup float shared[64];
    uint row = threadgroup_position_in_grid.x, t = thread_index_in_threadgroup;
    uint width = logits_shape[1];
    const device float* x = logits + row * width;
    float most = -INFINITY, sum = 0;
    for (uint k = t; k < width; k += 64) most = max(most, x[k]);
    shared[t] = most;
    threadgroup_barrier(mem_flags::mem_threadgroup); // maxima
    for (uint s = 32; s > 0; s /= 2) { // largest
      if (t < s) shared[t] = max(shared[t], shared[t + s]);
      threadgroup_barrier(mem_flags::mem_threadgroup); // largest of two
    }
    most = shared[0];
    threadgroup_barrier(mem_flags::mem_threadgroup); // used again
    for (uint k = t; k < width; k += 64) sum += metal::exp(x[k] - most);
    shared[t] = sum;
    threadgroup_barrier(mem_flags::mem_threadgroup); // sums
    for (uint s = 32; s > 0; s /= 2) { // sum
      if (t < s) shared[t] += shared[t + s];
      threadgroup_barrier(mem_flags::mem_threadgroup); // sum of two
    }
    int target = targets[row];
    if (t == 0) losses[row] = target < 0 ? 0 : metal::log(shared[0]) + most - x[target];
"""
SUM = """
    threadgroup float partial[8];
    uint i = thread_position_in_grid.x, lane = thread_index_in_simdgroup;
    uint simdgroup = simdgroup_index_in_threadgroup;
    float sum = i < (uint)inp_shape[0] ? inp[i] : 0;
    for (ushort d = 16; d > 0; d /= 2) sum += simd_shuffle_down(sum, d);
    if (lane == 0) partial[simdgroup] = sum;
    threadgroup_barrier(mem_flags::mem_threadgroup); // partial sums
    if (simdgroup == 0) {
      sum = simd_sum(lane < simdgroups_per_threadgroup ? partial[lane] : 0.0f);
      if (lane == 0) atomic_fetch_add_explicit(&out[0], sum, memory_order_relaxed);
    }
"""
ROPE = """
    uint pair = thread_position_in_grid.x, row = thread_position_in_grid.y;
    uint steps = inp_shape[1], width = inp_shape[2], pairs = width / 2;
    if (pair >= pairs) return;
    uint step = row % steps;
    float angle = step * metal::exp2(-float(pair) / float(pairs) * 13.2877f);
    float cosine = metal::cos(angle), sine = metal::sin(angle);
    float first = inp[row * width + pair], second = inp[row * width + pair + pairs];
    out[row * width + pair] = first * cosine - second * sine;
    out[row * width + pair + pairs] = first * sine + second * cosine;
"""
TRANSPOSE = """
    threadgroup float tile[16][17];
    uint2 t = thread_position_in_threadgroup.xy, corner = threadgroup_position_in_grid.xy * 16;
    uint rows = inp_shape[0], columns = inp_shape[1];
    if (corner.y + t.y < rows && corner.x + t.x < columns)
      tile[t.y][t.x] = inp[(corner.y + t.y) * columns + corner.x + t.x];
    threadgroup_barrier(mem_flags::mem_threadgroup); // the tile
    if (corner.x + t.y < columns && corner.y + t.x < rows)
      out[(corner.x + t.y) * rows + corner.y + t.x] = tile[t.x][t.y];
"""
HISTOGRAM = """
    threadgroup atomic_uint bins[16];
    uint i = thread_position_in_grid.x, t = thread_index_in_threadgroup;
    if (t < 16) atomic_store_explicit(&bins[t], 0, memory_order_relaxed);
    threadgroup_barrier(mem_flags::mem_threadgroup); // cleared
    if (i < (uint)inp_shape[0]) atomic_fetch_add_explicit(&bins[inp[i]], 1, memory_order_relaxed);
    threadgroup_barrier(mem_flags::mem_threadgroup); // counted
    if (t < 16) {
      uint found = atomic_load_explicit(&bins[t], memory_order_relaxed);
      atomic_fetch_add_explicit(&out[t], found, memory_order_relaxed);
    }
"""
SCAN = """
    threadgroup float totals[4];
    uint t = thread_index_in_threadgroup, lane = thread_index_in_simdgroup;
    uint row = threadgroup_position_in_grid.x, width = inp_shape[1];
    uint simdgroup = simdgroup_index_in_threadgroup;
    float before = 0;
    for (uint start = 0; start < width; start += 128) {
      uint at = start + t;
      float sum = simd_prefix_inclusive_sum(at < width ? inp[row * width + at] : 0.0f);
      if (lane == 31) totals[simdgroup] = sum;
      threadgroup_barrier(mem_flags::mem_threadgroup); // totals
      float whole = 0;
      for (uint j = 0; j < 4; j++) {
        if (j == simdgroup) sum += before + whole;
        whole += totals[j];
      }
      if (at < width) out[row * width + at] = sum;
      before += whole;
      threadgroup_barrier(mem_flags::mem_threadgroup); // before the next
    }
"""
SCATTER = """
    uint i = thread_position_in_grid.x;
    uint to = index[i / 8] * 8 + i % 8;
    atomic_fetch_add_explicit(&out[to], inp[i], memory_order_relaxed);
"""
SQUARED_RELU = """
    uint i = thread_position_in_grid.x * 4, size = inp_shape[0];
    if (i + 4 <= size) {
      float4 x = max(((const device float4*)inp)[i / 4], float4(0));
      ((device float4*)out)[i / 4] = x * x;
    } else {
      for (uint k = i; k < size; k++) out[k] = inp[k] > 0 ? inp[k] * inp[k] : 0;
    }
"""
