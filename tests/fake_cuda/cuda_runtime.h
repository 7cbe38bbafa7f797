// As much of the CUDA runtime as csrc/cuda/launch_nvcc.h calls, kept by the rules of the real one: a kernel
// on a device has one limit of dynamic shared memory, a launch beyond it fails, a thread's last error stays
// until somebody takes it, and within a capture a kernel is neither loaded nor told a limit, unless the
// thread's mode is relaxed. Launches run nothing; they note what they were given.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorNotSupported = 801,
  cudaErrorStreamCaptureUnsupported = 900
};
enum cudaStreamCaptureMode {
  cudaStreamCaptureModeGlobal = 0,
  cudaStreamCaptureModeThreadLocal = 1,
  cudaStreamCaptureModeRelaxed = 2
};
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16, cudaDevAttrMaxSharedMemoryPerBlockOptin = 97 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
using cudaStream_t = struct Stream_*;

struct cudaFuncAttributes {
  size_t sharedSizeBytes;
};

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace fake {

constexpr int kDefaultShared = 48 * 1024, kOptinShared = 99 * 1024, kStaticShared = 1000;

struct Limit {
  int bytes = kDefaultShared - kStaticShared;
  int times_set = 0;
};

struct Runtime {
  std::mutex mutex;
  std::map<std::pair<const void*, int>, Limit> limits;
  std::set<std::pair<const void*, int>> loaded;
  int launches = 0;
  cudaError_t refuse_limits = cudaSuccess;  // what the next attempt to set one returns
  std::function<void()> before_launch;      // runs once, where another thread's call would come in between
  std::function<void(void**)> see_arguments;
};

inline Runtime& runtime() {
  static Runtime instance;
  return instance;
}
inline thread_local int current_device = 0;
inline thread_local cudaError_t last_error = cudaSuccess;
inline thread_local bool capturing = false;
inline thread_local cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;

inline bool forbids_unsafe_calls() { return capturing && mode != cudaStreamCaptureModeRelaxed; }

inline cudaError_t noted(cudaError_t status) {
  if (status != cudaSuccess) last_error = status;
  return status;
}

}  // namespace fake

inline cudaError_t cudaGetDevice(int* device) {
  *device = fake::current_device;
  return cudaSuccess;
}

inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrMultiProcessorCount ? 82 : fake::kOptinShared;
  return cudaSuccess;
}

inline const char* cudaGetErrorString(cudaError_t status) {
  return status == cudaErrorInvalidValue ? "invalid argument" : "operation not supported";
}

inline cudaError_t cudaPeekAtLastError() { return fake::last_error; }

inline cudaError_t cudaGetLastError() { return std::exchange(fake::last_error, cudaSuccess); }

inline cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  std::swap(*mode, fake::mode);
  return cudaSuccess;
}

inline cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* kernel) {
  fake::Runtime& runtime = fake::runtime();
  const std::lock_guard<std::mutex> lock(runtime.mutex);
  if (fake::forbids_unsafe_calls()) return fake::noted(cudaErrorStreamCaptureUnsupported);
  runtime.loaded.insert({kernel, fake::current_device});
  attributes->sharedSizeBytes = fake::kStaticShared;
  return cudaSuccess;
}

inline cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute, int value) {
  fake::Runtime& runtime = fake::runtime();
  const std::lock_guard<std::mutex> lock(runtime.mutex);
  if (fake::forbids_unsafe_calls()) return fake::noted(cudaErrorStreamCaptureUnsupported);
  if (runtime.refuse_limits != cudaSuccess) {
    return fake::noted(std::exchange(runtime.refuse_limits, cudaSuccess));
  }
  if (value + fake::kStaticShared > fake::kOptinShared) return fake::noted(cudaErrorInvalidValue);
  fake::Limit& limit = runtime.limits[{kernel, fake::current_device}];
  limit.bytes = value;
  ++limit.times_set;
  return cudaSuccess;
}

inline cudaError_t cudaLaunchKernel(const void* kernel, dim3, dim3, void** arguments, size_t shared_bytes,
                                    cudaStream_t) {
  fake::Runtime& runtime = fake::runtime();
  if (runtime.before_launch) std::exchange(runtime.before_launch, nullptr)();
  const std::lock_guard<std::mutex> lock(runtime.mutex);
  if (runtime.loaded.insert({kernel, fake::current_device}).second && fake::forbids_unsafe_calls()) {
    return fake::noted(cudaErrorStreamCaptureUnsupported);
  }
  if (static_cast<int>(shared_bytes) > runtime.limits[{kernel, fake::current_device}].bytes) {
    return fake::noted(cudaErrorInvalidValue);
  }
  ++runtime.launches;
  if (runtime.see_arguments) runtime.see_arguments(arguments);
  return cudaSuccess;
}

inline cudaError_t cudaMemsetAsync(void* pointer, int, size_t, cudaStream_t) {
  return pointer == nullptr ? fake::noted(cudaErrorInvalidValue) : cudaSuccess;
}
