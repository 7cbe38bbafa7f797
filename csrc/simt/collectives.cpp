// Barriers and warp collectives: each waits until everyone it names has come, and
// refuses what CUDA leaves undefined.
#include "executor.h"

namespace anatpaste::simt {

namespace {

const char* name_of(Collective kind) {
  const char* names[] = {"sync_warp", "shfl", "shfl_up", "shfl_down", "shfl_xor",
                         "ballot",    "any",  "all",     "match_any", "reduce"};
  return names[static_cast<int>(kind)];
}

bool same(Where a, Where b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

std::string hex(unsigned mask) {
  char text[16];
  std::snprintf(text, sizeof(text), "0x%08x", mask);
  return text;
}

Thread& lane_thread(Block& block, int warp, int lane) { return block.threads[warp * kWarpSize + lane]; }

[[noreturn]] void fail_at(Collective kind, Where where, const std::string& text) {
  fail(std::string(name_of(kind)) + " at " + describe(where) + ": " + text);
}

void check_mask(Block& block, int warp_index, int lane, Collective kind, unsigned mask, Where where) {
  const Warp& warp = block.warps[warp_index];
  if ((mask >> lane & 1) == 0) {
    fail_at(kind, where,
            "bad mask " + hex(mask) + ": it does not name the calling lane " + std::to_string(lane));
  }
  if ((mask & ~warp.present) != 0) {
    fail_at(kind, where, "bad mask " + hex(mask) + ": the warp has only lanes " + hex(warp.present));
  }
  if ((mask & warp.done) != 0) {
    fail_at(kind, where, "mask " + hex(mask) + " names lanes that have returned: " + hex(mask & warp.done));
  }
}

/// A lane that waits elsewhere and cannot come before this collective ends makes it divergent.
void check_others(Block& block, int warp_index, int lane, const Pending& mine, Where where) {
  const Warp& warp = block.warps[warp_index];
  for (unsigned rest = warp.present & ~(1u << lane); rest != 0; rest &= rest - 1) {
    const int other = __builtin_ctz(rest);
    const Thread& thread = lane_thread(block, warp_index, other);
    const bool named = (mine.mask >> other & 1) != 0;
    if (named && thread.state == State::kAtBarrier) {
      fail_at(
          mine.kind, where,
          "divergent: lane " + std::to_string(other) + " waits at the barrier at " + describe(thread.where));
    }
    if ((warp.waiting >> other & 1) == 0) continue;
    const Pending& theirs = warp.pending[other];
    // Lanes may pass through collectives of smaller groups first: only two that
    // wait for each other are stuck.
    if (!named || (theirs.mask >> lane & 1) == 0) continue;
    if (theirs.mask != mine.mask) {
      fail_at(mine.kind, where,
              "bad mask " + hex(mine.mask) + ": lane " + std::to_string(other) + " waits with mask " +
                  hex(theirs.mask) + " at " + describe(thread.where));
    }
    if (theirs.kind != mine.kind || !same(thread.where, where)) {
      fail_at(mine.kind, where,
              "divergent: lane " + std::to_string(other) + " waits in " + name_of(theirs.kind) + " at " +
                  describe(thread.where));
    }
  }
}

int source_lane(const Pending& p, int lane) {
  switch (p.kind) {
    case Collective::kShfl:
      return p.argument & (kWarpSize - 1);
    case Collective::kShflUp:
      return lane - p.argument < 0 ? lane : lane - p.argument;
    case Collective::kShflDown:
      return lane + p.argument >= kWarpSize ? lane : lane + p.argument;
    default:
      return (lane ^ p.argument) & (kWarpSize - 1);
  }
}

void shuffle(Block& block, int warp_index, unsigned mask, Where where) {
  Warp& warp = block.warps[warp_index];
  for (unsigned rest = mask; rest != 0; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    const int source = source_lane(warp.pending[lane], lane);
    if ((mask >> source & 1) == 0) {
      fail_at(warp.pending[lane].kind, where,
              "bad mask " + hex(mask) + ": lane " + std::to_string(lane) + " reads lane " +
                  std::to_string(source) + ", which it does not name");
    }
    lane_thread(block, warp_index, lane).result = warp.pending[source].value;
  }
}

uint64_t combine_lanes(const Warp& warp, unsigned mask, int argument) {
  const bool is_signed = argument >= 16;
  const auto how = static_cast<Combine>(argument % 16);
  auto total = static_cast<uint32_t>(warp.pending[__builtin_ctz(mask)].value);
  for (unsigned rest = mask & (mask - 1); rest != 0; rest &= rest - 1) {
    const auto v = static_cast<uint32_t>(warp.pending[__builtin_ctz(rest)].value);
    const bool less = is_signed ? static_cast<int32_t>(v) < static_cast<int32_t>(total) : v < total;
    switch (how) {
      case Combine::kAdd:
        total += v;
        break;
      case Combine::kMin:
        total = less ? v : total;
        break;
      case Combine::kMax:
        total = less ? total : v;
        break;
      case Combine::kOr:
        total |= v;
        break;
      case Combine::kAnd:
        total &= v;
        break;
      case Combine::kExchange:
        break;
    }
  }
  return total;
}

unsigned equal_lanes(const Warp& warp, unsigned mask, uint64_t value) {
  unsigned equal = 0;
  for (unsigned rest = mask; rest != 0; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    if (warp.pending[lane].value == value) equal |= 1u << lane;
  }
  return equal;
}

void give_results(Block& block, int warp_index, unsigned mask, Where where) {
  Warp& warp = block.warps[warp_index];
  const Pending& first = warp.pending[__builtin_ctz(mask)];
  if (first.kind >= Collective::kShfl && first.kind <= Collective::kShflXor) {
    shuffle(block, warp_index, mask, where);
    return;
  }
  uint64_t common = 0;
  if (first.kind == Collective::kReduce) common = combine_lanes(warp, mask, first.argument);
  if (first.kind == Collective::kBallot) common = equal_lanes(warp, mask, 1);
  if (first.kind == Collective::kAny) common = equal_lanes(warp, mask, 1) != 0;
  if (first.kind == Collective::kAll) common = equal_lanes(warp, mask, 0) == 0;
  for (unsigned rest = mask; rest != 0; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    const bool match = first.kind == Collective::kMatchAny;
    lane_thread(block, warp_index, lane).result =
        match ? equal_lanes(warp, mask, warp.pending[lane].value) : common;
  }
}

void check_barrier(Block& block, Barrier kind, Where where) {
  const Warp& warp = block.warps[current->rank / kWarpSize];
  const int lane = current->rank % kWarpSize;
  if (block.first_done >= 0) {
    fail("waits at the barrier at " + describe(where) + ", but " + describe(block.threads[block.first_done]) +
         " has returned");
  }
  if (block.barrier.arrived > 0) {
    const Thread& first = block.threads[block.barrier.first];
    if (!same(first.where, where) || block.barrier.kind != kind) {
      fail("divergent barrier: at " + describe(where) + ", while " + describe(first) + " waits at " +
           describe(first.where));
    }
  }
  for (unsigned rest = warp.waiting; rest != 0; rest &= rest - 1) {
    const int other = __builtin_ctz(rest);
    if ((warp.pending[other].mask >> lane & 1) == 0) continue;
    const Thread& waiter = lane_thread(block, current->rank / kWarpSize, other);
    fail("divergent: at the barrier at " + describe(where) + ", while lane " + std::to_string(other) +
         " waits for it in " + name_of(warp.pending[other].kind) + " at " + describe(waiter.where));
  }
}

}  // namespace

int block_barrier(Barrier kind, bool predicate, Where where) {
  Thread& self = *current;
  Block& block = *self.block;
  check_barrier(block, kind, where);
  BarrierState& barrier = block.barrier;
  if (barrier.arrived == 0) {
    barrier.kind = kind;
    barrier.first = self.rank;
    barrier.holds = 0;
  }
  self.where = where;
  barrier.holds += predicate ? 1 : 0;
  if (++barrier.arrived < active_launch().threads) {
    self.state = State::kAtBarrier;
    wait();
    return static_cast<int>(self.result);
  }
  int result = barrier.holds;
  if (kind == Barrier::kOr) result = barrier.holds > 0;
  if (kind == Barrier::kAnd) result = barrier.holds == active_launch().threads;
  barrier.arrived = 0;
  barrier.first = -1;
  ++block.epoch;
  for (Thread& thread : block.threads) {
    thread.result = static_cast<uint64_t>(result);
    make_ready(thread);
  }
  if (observer() != nullptr) observer()->barrier(block);
  may_yield();
  return result;
}

uint64_t collective(Collective kind, unsigned mask, uint64_t value, int argument, Where where) {
  Thread& self = *current;
  Block& block = *self.block;
  const int warp_index = self.rank / kWarpSize, lane = self.rank % kWarpSize;
  Warp& warp = block.warps[warp_index];
  const Pending mine{kind, mask, value, argument};
  check_mask(block, warp_index, lane, kind, mask, where);
  check_others(block, warp_index, lane, mine, where);
  warp.pending[lane] = mine;
  warp.waiting |= 1u << lane;
  self.where = where;
  if ((warp.waiting & mask) != mask) {
    self.state = State::kAtCollective;
    wait();
    return self.result;
  }
  give_results(block, warp_index, mask, where);
  warp.waiting &= ~mask;
  for (unsigned rest = mask; rest != 0; rest &= rest - 1)
    make_ready(lane_thread(block, warp_index, __builtin_ctz(rest)));
  if (observer() != nullptr) observer()->collective(block, warp_index, mask, kind);
  may_yield();
  return self.result;
}

}  // namespace anatpaste::simt
