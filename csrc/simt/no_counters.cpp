// Builds other than the count build.
#include "control.h"

namespace anatpaste::simt {

std::string counters_json() { return "[]"; }
void reset_counters() {}

}  // namespace anatpaste::simt
