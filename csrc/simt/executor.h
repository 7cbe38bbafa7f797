// The executor's own structures: a launch, its resident blocks, their warps and threads. Test builds only.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "../cuda/device.h"
#include "fiber.h"
#include "shared_memory.h"

namespace anatpaste::simt {

enum class Mode { kForward, kReverse, kRandom };

struct Schedule {
  Mode mode = Mode::kForward;
  uint64_t seed = 0;
  int resident_blocks = 1;
};

/// What the executor pretends to be, and how long a launch may take.
struct DeviceModel {
  int max_shared_bytes = 101376;  // RTX 3090: 99 KB for a block
  int multiprocessors = 82;
  double timeout_seconds = 300;
};

enum class State : uint8_t { kReady, kAtBarrier, kAtCollective, kDone };

struct Block;

struct Thread {
  Fiber fiber;
  Block* block = nullptr;
  dim3 index;
  int rank = 0;
  State state = State::kReady;
  Where where{};        // where it waits
  uint64_t result = 0;  // what the barrier or collective gives it
};

/// One lane's part in a collective that is not complete yet.
struct Pending {
  Collective kind;
  unsigned mask;
  uint64_t value;
  int argument;
};

struct Warp {
  unsigned present = 0;  // lanes that exist
  unsigned done = 0;     // lanes that have returned
  unsigned waiting = 0;  // lanes with a Pending
  Pending pending[kWarpSize];
};

struct BarrierState {
  Barrier kind;
  int arrived = 0;
  int holds = 0;   // predicates that were true
  int first = -1;  // the rank that came first
};

struct Block {
  dim3 index;
  uint64_t ordinal = 0;  // x fastest
  int slot = 0;
  int live = 0;
  int first_done = -1;
  uint32_t epoch = 0;  // block barriers passed
  BarrierState barrier;
  std::vector<uint64_t> ready;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  SharedMemory shared;
};

struct Launch {
  const char* name = "";
  Closure closure{};
  dim3 grid, block;
  int threads = 0;
  uint64_t blocks = 0;
  size_t shared_bytes = 0;
  uint64_t ordinal = 0;  // launches since the schedule was set
};

enum class Access : uint8_t { kRead, kWrite };
enum class Marking : uint8_t { kPlain, kRelaxed, kAtomic };

/// What the race and count builds hang on the executor. The plain and ASan builds have none.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void launch_begin(const Launch&, const Schedule&) {}
  virtual void launch_end(const Launch&) {}
  virtual void block_begin(Block&) {}
  virtual void block_end(Block&) {}
  virtual void access(Thread&, const void* address, size_t bytes, Access, Marking, const void* place) = 0;
  virtual void barrier(Block&) {}
  virtual void collective(Block&, int /*warp*/, unsigned /*mask*/, Collective) {}
};
Observer* observer();

/// The thread that runs now; null outside kernels.
extern Thread* current;
const Launch& active_launch();

/// Ends the launch: DeviceError with this text, the kernel, the current thread, and the schedule. Never
/// returns into the kernel.
[[noreturn]] void fail(const std::string& text);
std::string describe(dim3 d);
std::string describe(Where where);
std::string describe(const Thread& thread);

void make_ready(Thread& thread);
/// Suspends the current thread, whose state has been set to a waiting one.
void wait();
/// A point at which random schedules may change threads.
void may_yield();

void set_schedule(const Schedule& schedule);
DeviceModel& device_model();

}  // namespace anatpaste::simt
