// The host side of device.h under nvcc: launches, and what the current device has. Include device.h, not this
// file. Plain C++ over the runtime's C functions, so that tests compile it against a runtime of their own
// (tests/fake_cuda).
#pragma once

#include <cuda_runtime.h>

#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace anatpaste {

using Stream = cudaStream_t;

/// A CUDA call failed; what() names the kernel (or the memset) and its configuration.
class DeviceError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

namespace detail {

inline std::string describe(dim3 d) {
  return std::to_string(d.x) + "x" + std::to_string(d.y) + "x" + std::to_string(d.z);
}

// Judges a call by what it returned. The runtime also keeps the last error of a thread for whoever asks next:
// one that was there before is another library's and stays; ours is told here, and taken away.
template <typename Describe>
void check(cudaError_t status, const char* name, const Describe& configuration) {
  if (status == cudaSuccess) return;
  cudaGetLastError();
  throw DeviceError(std::string(name) + ": " + cudaGetErrorString(status) + " (" + configuration() + ")");
}

inline int current_device() {
  int device = 0;
  check(cudaGetDevice(&device), "device query", [] { return "current device"; });
  return device;
}

inline int device_attribute(cudaDeviceAttr attribute, int device) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, attribute, device), "device query", [] { return "attribute"; });
  return value;
}

inline int device_attribute(cudaDeviceAttr attribute) {
  return device_attribute(attribute, current_device());
}

// While it lives, this thread may call what could spoil a capture of a CUDA graph, its own or another
// thread's: for calls that touch no stream, and so spoil none.
class AnyCallWithinCapture {
 public:
  AnyCallWithinCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~AnyCallWithinCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  AnyCallWithinCapture(const AnyCallWithinCapture&) = delete;
  AnyCallWithinCapture& operator=(const AnyCallWithinCapture&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

// What has been done for each kernel on each device. Those who come while it is done wait for it; where it
// throws, the next one does it.
class OnceAKernel {
 public:
  template <typename Action>
  void run(const void* kernel, int device, bool shares, const Action& action) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const std::tuple<const void*, int, bool> key(kernel, device, shares);
    if (done_.count(key) > 0) return;
    action();
    done_.insert(key);
  }

 private:
  std::mutex mutex_;
  std::set<std::tuple<const void*, int, bool>> done_;
};

// Before a kernel's first launch on a device: loads it, which the runtime would put off until that launch, in
// whose place a capture may be; and lets it have all of the device's shared memory if it `shares` any.
//
// Without asking, a kernel gets 48 KB of static and dynamic shared memory together. The limit belongs to the
// kernel and not to the launch: set to what one launch needs, it would fail a larger one of another host
// thread that comes in between. So it is set to all that the device has, and never again.
template <typename Describe>
void prepare(const void* kernel, bool shares, const char* name, const Describe& configuration) {
  static OnceAKernel prepared;
  const int device = current_device();
  prepared.run(kernel, device, shares, [&] {
    const AnyCallWithinCapture allowed;
    cudaFuncAttributes attributes;
    check(cudaFuncGetAttributes(&attributes, kernel), name, configuration);
    if (!shares) return;
    const int most = device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               most - static_cast<int>(attributes.sharedSizeBytes)),
          name, configuration);
  });
}

template <typename Values, size_t... at>
cudaError_t launch_kernel(const void* kernel, dim3 grid, dim3 block, size_t shared_bytes, Stream stream,
                          Values& values, std::index_sequence<at...>) {
  void* arguments[sizeof...(at) + 1] = {
      const_cast<void*>(static_cast<const void*>(&std::get<at>(values)))...};
  return cudaLaunchKernel(kernel, grid, block, arguments, shared_bytes, stream);
}

}  // namespace detail

template <typename... P, typename... A>
void launch(const char* name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, Stream stream,
            A&&... args) {
  static_assert(sizeof...(P) == sizeof...(A),
                "launch needs one argument for each of the kernel's parameters");
  const auto configuration = [&] {
    return "grid " + detail::describe(grid) + ", block " + detail::describe(block) + ", " +
           std::to_string(shared_bytes) + " bytes of shared memory";
  };
  const void* entry = reinterpret_cast<const void*>(kernel);
  detail::prepare(entry, shared_bytes > 0, name, configuration);
  // The launch's own result: cudaGetLastError after <<<>>> would blame this kernel for an earlier error of
  // another library.
  std::tuple<std::decay_t<P>...> values(static_cast<P>(args)...);
  detail::check(detail::launch_kernel(entry, grid, block, shared_bytes, stream, values,
                                      std::index_sequence_for<P...>()),
                name, configuration);
}

inline void memset_async(const char* name, void* pointer, int byte, size_t bytes, Stream stream) {
  detail::check(cudaMemsetAsync(pointer, byte, bytes, stream), name,
                [&] { return std::to_string(bytes) + " bytes"; });
}

inline int max_shared_bytes() { return detail::device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin); }
inline int multiprocessor_count() { return detail::device_attribute(cudaDevAttrMultiProcessorCount); }

}  // namespace anatpaste
