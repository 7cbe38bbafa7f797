// Launchers of the planted bugs: planted_<name>(Tensor rows, bool broken), rows int32 (B, 96).
#include "../../cuda/launcher.h"
#include "planted.cuh"
#include "vocabulary.cuh"

namespace anatpaste {
namespace planted {

namespace {

using Kernel = void (*)(const int*, int*);

unsigned blocks_of(const Tensor& rows) { return static_cast<unsigned>(rows.size(0)); }

/// Runs a kernel over rows -> out; both twins of most pairs have this shape.
Tensor run(const char* name, Kernel kernel, const Tensor& rows, int64_t columns, size_t shared_bytes = 0) {
  OnDevice device(rows);
  Tensor out = device.empty({rows.size(0), columns}, ScalarType::Int);
  launch(name, kernel, dim3(blocks_of(rows)), dim3(kThreads), shared_bytes, device.stream(),
         device.read<int>(rows), device.write<int>(out));
  return out;
}

Tensor block_sum(const Tensor& rows, bool broken) {
  return run("block_sum", broken ? block_sum_kernel<true> : block_sum_kernel<false>, rows, 1);
}
Tensor histogram(const Tensor& rows, bool broken) {
  return run("histogram", broken ? histogram_kernel<true> : histogram_kernel<false>, rows, kBins);
}
Tensor shift_shared(const Tensor& rows, bool broken) {
  return run("shift_shared", broken ? shift_shared_kernel<true> : shift_shared_kernel<false>, rows, kThreads);
}
Tensor shift_dynamic(const Tensor& rows, bool broken) {
  return run("shift_dynamic", broken ? shift_dynamic_kernel<true> : shift_dynamic_kernel<false>, rows,
             kThreads, kThreads * sizeof(int));
}
Tensor exchange(const Tensor& rows, bool broken) {
  return run("exchange", broken ? exchange_kernel<true> : exchange_kernel<false>, rows, kThreads);
}
Tensor warp_exchange(const Tensor& rows, bool broken) {
  return run("warp_exchange", broken ? warp_exchange_kernel<true> : warp_exchange_kernel<false>, rows,
             kThreads);
}
Tensor prefix(const Tensor& rows, bool broken) {
  return run("prefix", broken ? prefix_kernel<true> : prefix_kernel<false>, rows, kThreads);
}
Tensor half_sum(const Tensor& rows, bool broken) {
  return run("half_sum", broken ? half_sum_kernel<true> : half_sum_kernel<false>, rows, kThreads);
}
Tensor divergent(const Tensor& rows, bool broken) {
  return run("divergent", broken ? divergent_kernel<true> : divergent_kernel<false>, rows, kThreads);
}
Tensor peek_max(const Tensor& rows, bool broken) {
  return run("peek_max", broken ? peek_max_kernel<true> : peek_max_kernel<false>, rows, 1);
}
Tensor copy16(const Tensor& rows, bool broken) {
  return run("copy16", broken ? copy16_kernel<true> : copy16_kernel<false>, rows, kThreads);
}
Tensor window(const Tensor& rows, bool broken) {
  return run("window", broken ? window_kernel<true> : window_kernel<false>, rows, kThreads,
             kThreads * sizeof(int));
}

Tensor bytes(const Tensor& rows, bool broken) {
  return run("bytes", broken ? bytes_kernel<true> : bytes_kernel<false>, rows, kThreads);
}
Tensor broadcast(const Tensor& rows, bool broken) {
  return run("broadcast", broken ? broadcast_kernel<true> : broadcast_kernel<false>, rows, kThreads);
}
Tensor half_exchange(const Tensor& rows, bool broken) {
  return run("half_exchange", broken ? half_exchange_kernel<true> : half_exchange_kernel<false>, rows,
             kThreads);
}
Tensor spin(const Tensor& rows, bool broken) {
  return run("spin", broken ? spin_kernel<true> : spin_kernel<false>, rows, kThreads);
}
Tensor banks(const Tensor& rows, bool broken) {
  return run("banks", broken ? banks_kernel<true> : banks_kernel<false>, rows, kThreads);
}
Tensor gather(const Tensor& rows, bool broken) {
  return run("gather", broken ? gather_kernel<true> : gather_kernel<false>, rows, kThreads);
}

Tensor reverse(const Tensor& rows, bool broken) {
  OnDevice device(rows);
  Tensor out = device.empty(rows.sizes(), ScalarType::Int);
  launch("reverse", broken ? reverse_kernel<true> : reverse_kernel<false>, dim3(blocks_of(rows)),
         dim3(kThreads), 0, device.stream(), device.read<int>(rows), device.write<int>(out), 70);
  return out;
}

Tensor shift_global(const Tensor& rows, bool broken) {
  OnDevice device(rows);
  Tensor out = device.empty(rows.sizes(), ScalarType::Int);
  launch("shift_global", broken ? shift_global_kernel<true> : shift_global_kernel<false>,
         dim3(blocks_of(rows)), dim3(kThreads), 0, device.stream(), device.read<int>(rows),
         device.write<int>(out), static_cast<int>(rows.numel()));
  return out;
}

Tensor grid_sum(const Tensor& rows, bool broken) {
  OnDevice device(rows);
  Tensor out = device.empty({1}, ScalarType::Int);
  memset_async("grid_sum", device.write<int>(out), 0, sizeof(int), device.stream());
  launch("grid_sum", broken ? grid_sum_kernel<true> : grid_sum_kernel<false>, dim3(blocks_of(rows)),
         dim3(kThreads), 0, device.stream(), device.read<int>(rows), device.write<int>(out));
  return out;
}

/// Writes a tensor that was handed over as read-only: the broken form of a launcher, not of a kernel.
Tensor read_only(const Tensor& rows, bool broken) {
  OnDevice device(rows);
  Tensor out = device.empty(rows.sizes(), ScalarType::Int);
  int* target = broken ? const_cast<int*>(device.read<int>(out)) : device.write<int>(out);
  launch("read_only", copy16_kernel<false>, dim3(blocks_of(rows)), dim3(kThreads), 0, device.stream(),
         device.read<int>(rows), target);
  return out;
}

/// int32 (128,) -> int32 (128, 32) of what each word of device.h gives, and the 64-bit sum.
std::tuple<Tensor, Tensor> vocabulary(const Tensor& values) {
  OnDevice device(values);
  Tensor out = device.empty({values.numel(), 32}, ScalarType::Int);
  Tensor wide = device.empty({1}, ScalarType::Long);
  memset_async("vocabulary", device.write<int64_t>(wide), 0, sizeof(int64_t), device.stream());
  launch("vocabulary", vocabulary_kernel, dim3(2), dim3(64), 256, device.stream(),
         device.read<unsigned>(values), device.write<unsigned>(out), device.write<unsigned long long>(wide));
  return {out, wide};
}

}  // namespace
}  // namespace planted
}  // namespace anatpaste

#define ANATPASTE_PLANTED(apply)                                                                         \
  apply(block_sum) apply(histogram) apply(shift_shared) apply(shift_dynamic) apply(exchange)             \
      apply(warp_exchange) apply(prefix) apply(half_sum) apply(divergent) apply(peek_max) apply(copy16)  \
          apply(window) apply(reverse) apply(shift_global) apply(grid_sum) apply(read_only) apply(bytes) \
              apply(broadcast) apply(half_exchange) apply(spin) apply(banks) apply(gather)

STABLE_TORCH_LIBRARY_FRAGMENT(ANATPASTE_LIBRARY, m) {
#define ANATPASTE_DEFINE(name) m.def("planted_" #name "(Tensor rows, bool broken) -> Tensor");
  ANATPASTE_PLANTED(ANATPASTE_DEFINE)
  m.def("vocabulary(Tensor values) -> (Tensor, Tensor)");
}

ANATPASTE_REGISTER(m) {
#define ANATPASTE_IMPLEMENT(name) m.impl("planted_" #name, TORCH_BOX(&anatpaste::planted::name));
  ANATPASTE_PLANTED(ANATPASTE_IMPLEMENT)
  m.impl("vocabulary", TORCH_BOX(&anatpaste::planted::vocabulary));
}
