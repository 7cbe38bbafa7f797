// The plain and ASan builds watch no accesses.
#include "executor.h"

namespace anatpaste::simt {

Observer* observer() { return nullptr; }

}  // namespace anatpaste::simt
