// Launches of csrc/cuda/launch_nvcc.h against the runtime beside this file. Each function is one test's case:
// it returns "" or what was wrong.
#include <atomic>
#include <thread>

#include "cuda/launch_nvcc.h"

using namespace anatpaste;

namespace {

struct Pair {
  double a;
  int b;
};

// One signature, so that one instantiation of launch() serves both.
void kernel(const int*, long long, Pair) {}
void other_kernel(const int*, long long, Pair) {}

void run(void (*which)(const int*, long long, Pair), size_t shared_bytes) {
  launch("some_kernel", which, dim3(2, 3), dim3(64), shared_bytes, nullptr, nullptr, 7, Pair{0.5, 3});
}

// What launch() throws, or "".
template <typename Call>
std::string thrown(const Call& call) {
  try {
    call();
  } catch (const DeviceError& error) {
    return error.what();
  }
  return "";
}

const fake::Limit& limit_of(void (*which)(const int*, long long, Pair), int device) {
  return fake::runtime().limits[{reinterpret_cast<const void*>(which), device}];
}

std::string expect(bool holds, const std::string& what) { return holds ? "" : what; }

constexpr size_t kSmall = 1000, kLarge = fake::kOptinShared - fake::kStaticShared;

std::string a_smaller_launch_of_another_thread_in_between() {
  fake::runtime().before_launch = [] { std::thread([] { run(kernel, kSmall); }).join(); };
  return thrown([] { run(kernel, kLarge); });
}

std::string many_threads_of_different_sizes() {
  std::atomic<int> failed{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < 500; ++i) {
        if (!thrown([&] { run(i % 2 ? kernel : other_kernel, kSmall + t * 12000); }).empty()) ++failed;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return expect(failed == 0, std::to_string(failed) + " launches failed");
}

std::string the_limit_is_set_once_a_kernel_and_device() {
  for (int round = 0; round < 3; ++round) {
    for (fake::current_device = 0; fake::current_device < 2; ++fake::current_device) {
      run(kernel, kSmall);
      run(other_kernel, kLarge);
    }
  }
  fake::current_device = 0;
  for (int device = 0; device < 2; ++device) {
    for (auto which : {kernel, other_kernel}) {
      const fake::Limit& limit = limit_of(which, device);
      if (limit.times_set != 1) return "set " + std::to_string(limit.times_set) + " times";
      if (limit.bytes != static_cast<int>(kLarge)) return "set to " + std::to_string(limit.bytes);
    }
  }
  return "";
}

std::string a_launch_without_dynamic_shared_memory_sets_nothing() {
  run(kernel, 0);
  return expect(limit_of(kernel, 0).times_set == 0, "the limit was set");
}

// Both modes in which torch captures; kernels with and without dynamic shared memory.
std::string a_first_launch_within_a_capture() {
  for (auto mode : {cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal}) {
    fake::current_device = mode;
    fake::capturing = true;
    fake::mode = mode;
    const std::string failed = thrown([] { run(kernel, kLarge); }) + thrown([] { run(other_kernel, 0); });
    fake::capturing = false;
    if (!failed.empty()) return "threw: " + failed;
    if (fake::mode != mode) return "the thread's mode was left relaxed";
  }
  return "";
}

std::string the_mode_is_put_back_where_a_limit_is_refused() {
  fake::runtime().refuse_limits = cudaErrorNotSupported;
  const std::string refused = thrown([] { run(kernel, kLarge); });
  if (refused.empty()) return "nothing was thrown";
  return expect(fake::mode == cudaStreamCaptureModeGlobal, "the thread's mode was left relaxed");
}

std::string a_limit_that_was_refused_is_tried_again() {
  fake::runtime().refuse_limits = cudaErrorNotSupported;
  const std::string refused = thrown([] { run(kernel, kLarge); });
  if (refused != "some_kernel: operation not supported (grid 2x3x1, block 64x1x1, " + std::to_string(kLarge) +
                     " bytes of shared memory)") {
    return "threw: " + refused;
  }
  return thrown([] { run(kernel, kLarge); });
}

std::string an_earlier_error_is_neither_blamed_nor_cleared() {
  fake::last_error = cudaErrorNotSupported;
  const std::string blamed = thrown([] { run(kernel, kSmall); });
  if (!blamed.empty()) return "threw: " + blamed;
  return expect(cudaPeekAtLastError() == cudaErrorNotSupported, "the error was cleared");
}

std::string our_own_error_is_told_and_left_to_nobody() {
  const std::string told = thrown([] { run(kernel, kLarge + 1); });
  if (told != "some_kernel: invalid argument (grid 2x3x1, block 64x1x1, " + std::to_string(kLarge + 1) +
                  " bytes of shared memory)") {
    return "threw: " + told;
  }
  const std::string memset = thrown([] { memset_async("clear", nullptr, 0, 12, nullptr); });
  if (memset != "clear: invalid argument (12 bytes)") return "threw: " + memset;
  return expect(cudaPeekAtLastError() == cudaSuccess, "the error is left for the next one who asks");
}

std::string arguments_arrive_as_the_parameters_types() {
  const int value = 11;
  std::string wrong = "nothing was launched";
  fake::runtime().see_arguments = [&](void** arguments) {
    const Pair pair = *static_cast<Pair*>(arguments[2]);
    const bool right = *static_cast<const int**>(arguments[0]) == &value &&
                       *static_cast<long long*>(arguments[1]) == -7 && pair.a == 0.5 && pair.b == 3;
    wrong = expect(right, "the arguments are others");
  };
  launch("some_kernel", kernel, dim3(1), dim3(32), 0, nullptr, &value, short{-7}, Pair{0.5, 3});
  return wrong;
}

}  // namespace

#define CASE(name)                       \
  extern "C" const char* case_##name() { \
    static std::string text;             \
    text = name();                       \
    return text.c_str();                 \
  }
CASE(a_smaller_launch_of_another_thread_in_between)
CASE(many_threads_of_different_sizes)
CASE(the_limit_is_set_once_a_kernel_and_device)
CASE(a_launch_without_dynamic_shared_memory_sets_nothing)
CASE(a_first_launch_within_a_capture)
CASE(the_mode_is_put_back_where_a_limit_is_refused)
CASE(a_limit_that_was_refused_is_tried_again)
CASE(an_earlier_error_is_neither_blamed_nor_cleared)
CASE(our_own_error_is_told_and_left_to_nobody)
CASE(arguments_arrive_as_the_parameters_types)
