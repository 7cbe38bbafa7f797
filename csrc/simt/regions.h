// Global memory that launchers have registered (memory.h).
#pragma once

#include <vector>

namespace anatpaste::simt {

struct Region {
  const unsigned char* begin;
  const unsigned char* end;
  bool writable;
};

const std::vector<Region>& regions();

}  // namespace anatpaste::simt
