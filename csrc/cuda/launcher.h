// What every launcher shares: the device guard, the current stream, outputs, and pointers into tensors.
// Written once for the CUDA build and for the SIMT executor, which learns here what memory a kernel may
// touch. Launchers include this and their .cuh.
//
//     Tensor binary_opening(const Tensor& mask) {
//       OnDevice device(mask);
//       Tensor opened = device.empty(mask.sizes(), ScalarType::Bool);
//       launch("binary_opening", opening_kernel, dim3(...), dim3(...), 0, device.stream(),
//              device.read<uint8_t>(mask), device.write<uint8_t>(opened), ...);
//       return opened;
//     }
//     ANATPASTE_REGISTER(m) { m.impl("binary_opening", TORCH_BOX(&binary_opening)); }
#pragma once

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <optional>
#include <vector>

#include "device.h"

#if ANATPASTE_SIMT
#include "../simt/memory.h"
#endif

/// Registers a launcher's ops: `ANATPASTE_REGISTER(m) { m.impl(...); }`.
#define ANATPASTE_REGISTER(m) STABLE_TORCH_LIBRARY_IMPL(ANATPASTE_LIBRARY, ANATPASTE_DISPATCH_KEY, m)

namespace anatpaste {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

/// For the time of one op: the tensor's device is current, and its current stream is what stream() gives.
class OnDevice {
 public:
  explicit OnDevice(const Tensor& tensor) : like_(tensor) {
#if !ANATPASTE_SIMT
    const int32_t index = tensor.get_device_index();
    guard_.emplace(index);
    void* stream = nullptr;
    // The macro of this name that torch has had since 2.10; STABLE_TORCH_ERROR_CODE_CHECK came later.
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(index, &stream));
    stream_ = static_cast<Stream>(stream);
#endif
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  Stream stream() const { return stream_; }

  /// A new contiguous tensor on this device, uninitialised (under the executor filled with 0xA5). For outputs
  /// and workspaces.
  Tensor empty(torch::headeronly::IntHeaderOnlyArrayRef sizes, ScalarType type) {
    Tensor tensor = torch::stable::new_empty(like_, sizes, type);
#if ANATPASTE_SIMT
    simt::poison(tensor.mutable_data_ptr(), storage_bytes(tensor));
#endif
    return tensor;
  }

  /// The data of a contiguous tensor that kernels of this op only read.
  template <typename T>
  const T* read(const Tensor& tensor) {
    const void* data = tensor.const_data_ptr();
#if ANATPASTE_SIMT
    memory_.add(data, storage_bytes(tensor), false);
#endif
    return static_cast<const T*>(data);
  }

  /// The data of a contiguous tensor that kernels of this op write (and may read).
  template <typename T>
  T* write(const Tensor& tensor) {
    void* data = tensor.mutable_data_ptr();
#if ANATPASTE_SIMT
    memory_.add(data, storage_bytes(tensor), true);
#endif
    return static_cast<T*>(data);
  }

 private:
  Tensor like_;
  Stream stream_ = nullptr;
#if ANATPASTE_SIMT
  static size_t storage_bytes(const Tensor& tensor) {
    return static_cast<size_t>(tensor.numel()) * tensor.element_size();
  }
  simt::RegisteredMemory memory_;
#else
  std::optional<torch::stable::accelerator::DeviceGuard> guard_;
#endif
};

}  // namespace anatpaste
