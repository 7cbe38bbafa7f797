// Launches: starts blocks, chooses which thread runs next, ends a launch with an error that says where.
#include "executor.h"

#include <chrono>
#include <memory>
#include <mutex>

namespace anatpaste::simt {

Thread* current = nullptr;

namespace {

/// splitmix64: enough for schedules, and the same on every machine.
struct Random {
  uint64_t state = 0;
  uint64_t next() {
    uint64_t z = (state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  uint32_t below(uint32_t n) { return static_cast<uint32_t>((next() >> 32) * n >> 32); }
};

// A thread that spins on a relaxed load must let others run even in the forward and reverse schedules.
constexpr uint32_t kSpinsBeforeYield = 4096;

struct Executor {
  std::mutex mutex;
  Schedule schedule;
  DeviceModel model;
  Launch launch;
  Random random;
  StackPool stacks;
  Fiber main;
  std::vector<std::unique_ptr<Block>> slots;
  uint64_t started = 0;
  uint64_t launches = 0;
  uint32_t spins = 0;
  bool running = false;
  std::string error;
  std::chrono::steady_clock::time_point deadline;
};

Executor& executor() {
  static Executor instance;
  return instance;
}

int next_ready(const Block& block, int from, int step) {
  // Words of 64 ranks; `step` is the direction. Starts at `from` itself and goes round.
  const int n = static_cast<int>(block.ready.size());
  int word = from / 64;
  const int bit = from % 64;
  uint64_t bits = block.ready[word] & (step > 0 ? ~0ull << bit : ~0ull >> (63 - bit));
  for (int tries = 0; tries <= n; ++tries) {
    if (bits != 0) {
      return 64 * word + (step > 0 ? __builtin_ctzll(bits) : 63 - __builtin_clzll(bits));
    }
    word = (word + step + n) % n;
    bits = block.ready[word];
  }
  return -1;
}

int start_rank(Executor& e, const Block& block) {
  const int threads = e.launch.threads;
  if (e.schedule.mode == Mode::kRandom) return static_cast<int>(e.random.below(threads));
  const bool forward = e.schedule.mode == Mode::kForward;
  if (current == nullptr || current->block != &block) return forward ? 0 : threads - 1;
  return forward ? (current->rank + 1) % threads : (current->rank + threads - 1) % threads;
}

/// The thread to run next, or null if every live thread waits.
Thread* pick(Executor& e) {
  const int n = static_cast<int>(e.slots.size());
  int slot = current != nullptr ? current->block->slot : 0;
  if (e.schedule.mode == Mode::kRandom) slot = static_cast<int>(e.random.below(n));
  for (int tries = 0; tries < n; ++tries, slot = (slot + 1) % n) {
    Block& block = *e.slots[slot];
    if (block.live == 0) continue;
    const int rank = next_ready(block, start_rank(e, block), e.schedule.mode == Mode::kReverse ? -1 : 1);
    if (rank >= 0) return &block.threads[rank];
  }
  return nullptr;
}

void go_to(Thread* from, Thread* to, bool last) {
  Executor& e = executor();
  if (from == to) return;
  Fiber& source = from != nullptr ? from->fiber : e.main;
  Fiber& target = to != nullptr ? to->fiber : e.main;
  current = to;
  switch_fiber(source, target, last);
}

void check_exit(Thread& thread, Warp& warp, unsigned lane) {
  const Block& block = *thread.block;
  if (block.barrier.arrived > 0) {
    const Thread& waiter = block.threads[block.barrier.first];
    fail("returned before the barrier at " + describe(waiter.where) + " where " + describe(waiter) +
         " waits");
  }
  for (unsigned rest = warp.waiting; rest != 0; rest &= rest - 1) {
    const int other = __builtin_ctz(rest);
    if ((warp.pending[other].mask >> lane & 1) == 0) continue;
    const Thread& waiter = block.threads[thread.rank - static_cast<int>(lane) + other];
    fail("returned, but the mask of the collective at " + describe(waiter.where) + " names this lane");
  }
}

void finish_thread() {
  Executor& e = executor();
  Thread& thread = *current;
  Block& block = *thread.block;
  const unsigned lane = thread.rank % kWarpSize;
  Warp& warp = block.warps[thread.rank / kWarpSize];
  if (!stack_intact(thread.fiber)) fail("the thread's stack overflowed");
  check_exit(thread, warp, lane);
  thread.state = State::kDone;
  block.ready[thread.rank / 64] &= ~(1ull << thread.rank % 64);
  warp.done |= 1u << lane;
  if (block.first_done < 0) block.first_done = thread.rank;
  --block.live;
  go_to(&thread, block.live == 0 ? nullptr : pick(e), true);
}

void thread_entry() {
  entered_fiber(current->fiber);
  const Closure& closure = executor().launch.closure;
  closure.run(closure.arguments);
  finish_thread();
  __builtin_unreachable();
}

void reset_threads(Executor& e, Block& block) {
  const dim3 size = e.launch.block;
  block.threads.resize(e.launch.threads);
  for (int rank = 0; rank < e.launch.threads; ++rank) {
    Thread& thread = block.threads[rank];
    const unsigned r = rank;
    thread.block = &block;
    thread.rank = rank;
    thread.index = dim3(r % size.x, r / size.x % size.y, r / (size.x * size.y));
    thread.state = State::kReady;
    e.stacks.give(static_cast<size_t>(block.slot) * e.launch.threads + rank, thread.fiber);
    prepare(thread.fiber, thread_entry);
  }
}

void start_block(Executor& e, Block& block) {
  const Launch& launch = e.launch;
  const uint64_t i = e.schedule.mode == Mode::kReverse ? launch.blocks - 1 - e.started : e.started;
  ++e.started;
  block.ordinal = i;
  block.index =
      dim3(static_cast<unsigned>(i % launch.grid.x), static_cast<unsigned>(i / launch.grid.x % launch.grid.y),
           static_cast<unsigned>(i / launch.grid.x / launch.grid.y));
  block.live = launch.threads;
  block.first_done = -1;
  block.epoch = 0;
  block.barrier = BarrierState{};
  block.ready.assign((launch.threads + 63) / 64, ~0ull);
  if (launch.threads % 64 != 0) block.ready.back() = ~0ull >> (64 - launch.threads % 64);
  block.warps.assign((launch.threads + kWarpSize - 1) / kWarpSize, Warp{});
  for (Warp& warp : block.warps) warp.present = kFullMask;
  if (launch.threads % kWarpSize != 0) block.warps.back().present = (1u << launch.threads % kWarpSize) - 1u;
  block.shared.reset(launch.shared_bytes);
  reset_threads(e, block);
  if (observer() != nullptr) observer()->block_begin(block);
}

void end_block(Block& block) {
  const std::string damaged = block.shared.damaged();
  if (!damaged.empty()) {
    fail("block " + describe(block.index) + " wrote outside shared array '" + damaged + "'");
  }
  if (observer() != nullptr) observer()->block_end(block);
}

[[noreturn]] void fail_stuck(Executor& e) {
  std::string text = "no thread can go on:";
  for (const auto& block : e.slots) {
    int named = 0;
    for (const Thread& thread : block->threads) {
      if (block->live == 0 || thread.state == State::kDone || thread.state == State::kReady) continue;
      if (named++ < 4) text += " " + describe(thread) + " waits at " + describe(thread.where) + ";";
    }
  }
  fail(text + " a barrier or collective is divergent");
}

std::string schedule_text(const Executor& e) {
  const char* names[] = {"forward", "reverse", "random"};
  std::string text = std::string("schedule ") + names[static_cast<int>(e.schedule.mode)];
  if (e.schedule.mode == Mode::kRandom) text += ", seed " + std::to_string(e.schedule.seed);
  return text + ", " + std::to_string(e.schedule.resident_blocks) + " resident blocks, launch " +
         std::to_string(e.launch.ordinal);
}

void check_launch(Executor& e) {
  const Launch& launch = e.launch;
  const uint64_t threads = uint64_t{launch.block.x} * launch.block.y * launch.block.z;
  if (threads == 0 || threads > 1024) fail("a block has 1 to 1024 threads, not " + describe(launch.block));
  if (launch.blocks == 0 || launch.grid.x > 0x7fffffffu || launch.grid.y > 65535 || launch.grid.z > 65535) {
    fail("a grid of " + describe(launch.grid) + " blocks cannot be launched");
  }
  if (launch.shared_bytes > static_cast<size_t>(e.model.max_shared_bytes)) {
    fail(std::to_string(launch.shared_bytes) + " bytes of dynamic shared memory, the device has " +
         std::to_string(e.model.max_shared_bytes));
  }
}

void prepare_slots(Executor& e) {
  const uint64_t resident = std::min<uint64_t>(e.launch.blocks, e.schedule.resident_blocks);
  e.stacks.reserve(resident * e.launch.threads);
  e.slots.resize(resident);
  for (uint64_t i = 0; i < resident; ++i) {
    if (e.slots[i] == nullptr) e.slots[i] = std::make_unique<Block>();
    e.slots[i]->slot = static_cast<int>(i);
    start_block(e, *e.slots[i]);
  }
}

void run_blocks(Executor& e) {
  prepare_slots(e);
  uint64_t finished = 0;
  while (finished < e.launch.blocks) {
    Thread* next = pick(e);
    if (next == nullptr) fail_stuck(e);
    go_to(nullptr, next, false);
    if (!e.error.empty()) throw DeviceError(e.error);
    for (auto& block : e.slots) {
      if (block->live != 0 || block->threads.empty()) continue;
      end_block(*block);
      ++finished;
      if (e.started < e.launch.blocks) {
        start_block(e, *block);
      } else {
        block->threads.clear();
      }
    }
  }
}

/// Leaves the executor fit for the next launch, however this one ended.
struct Running {
  Executor& e;
  explicit Running(Executor& e_) : e(e_) { e.running = true; }
  ~Running() {
    current = nullptr;
    e.running = false;
    for (auto& block : e.slots) {
      if (block == nullptr) continue;
      block->threads.clear();
      block->live = 0;
      block->shared.clear();
    }
  }
};

}  // namespace

const Launch& active_launch() { return executor().launch; }
DeviceModel& device_model() { return executor().model; }
int max_shared_bytes() { return executor().model.max_shared_bytes; }
int multiprocessor_count() { return executor().model.multiprocessors; }

std::string describe(dim3 d) {
  return "(" + std::to_string(d.x) + ", " + std::to_string(d.y) + ", " + std::to_string(d.z) + ")";
}
std::string describe(Where where) { return std::string(where.file) + ":" + std::to_string(where.line); }
std::string describe(const Thread& thread) { return "thread " + describe(thread.index); }

void fail(const std::string& text) {
  Executor& e = executor();
  std::string message = std::string("kernel ") + e.launch.name;
  if (current != nullptr) message += ", block " + describe(current->block->index) + ", " + describe(*current);
  message += ": " + text + " [" + schedule_text(e) + "]";
  if (current == nullptr) throw DeviceError(message);
  e.error = message;
  go_to(current, nullptr, true);
  __builtin_unreachable();
}

void make_ready(Thread& thread) {
  thread.state = State::kReady;
  thread.block->ready[thread.rank / 64] |= 1ull << thread.rank % 64;
}

void wait() {
  Thread* self = current;
  self->block->ready[self->rank / 64] &= ~(1ull << self->rank % 64);
  go_to(self, pick(executor()), false);
}

void may_yield() {
  Executor& e = executor();
  if ((++e.spins & 0xffff) == 0 && std::chrono::steady_clock::now() > e.deadline) {
    fail("the launch did not end within " + std::to_string(static_cast<int>(e.model.timeout_seconds)) + " s");
  }
  if (e.schedule.mode == Mode::kRandom ? (e.random.next() >> 63) != 0 : e.spins % kSpinsBeforeYield == 0) {
    go_to(current, pick(e), false);
  }
}

void set_schedule(const Schedule& schedule) {
  Executor& e = executor();
  const std::lock_guard<std::mutex> lock(e.mutex);
  e.schedule = schedule;
  e.launches = 0;
}

dim3 thread_index() { return current->index; }
dim3 block_index() { return current->block->index; }
dim3 block_size() { return executor().launch.block; }
dim3 grid_size() { return executor().launch.grid; }
int thread_rank() { return current->rank; }

void run_launch(const char* name, const Closure& closure, dim3 grid, dim3 block, size_t shared_bytes) {
  Executor& e = executor();
  const std::lock_guard<std::mutex> lock(e.mutex);
  const uint64_t blocks = uint64_t{grid.x} * grid.y * grid.z;
  e.launch = Launch{name,   closure,      grid,        block, static_cast<int>(block.x * block.y * block.z),
                    blocks, shared_bytes, e.launches++};
  e.error.clear();
  e.started = 0;
  e.random.state = e.schedule.seed * 0x2545f4914f6cdd1dull + e.launch.ordinal;
  e.deadline =
      std::chrono::steady_clock::now() + std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                                             std::chrono::duration<double>(e.model.timeout_seconds));
  check_launch(e);
  const Running running(e);
  if (observer() != nullptr) observer()->launch_begin(e.launch, e.schedule);
  run_blocks(e);
  if (observer() != nullptr) observer()->launch_end(e.launch);
}

}  // namespace anatpaste::simt
