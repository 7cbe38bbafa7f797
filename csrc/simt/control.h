// What only some builds can do.
#pragma once

#include <string>

namespace anatpaste::simt {

/// A JSON list with an object for each launch; "[]" in builds that do not count.
std::string counters_json();
void reset_counters();

}  // namespace anatpaste::simt
