// Defines namespace anatpaste from the one list of schemas.
#include <Python.h>
#include <torch/csrc/stable/library.h>

#include "schemas.h"

STABLE_TORCH_LIBRARY(anatpaste, m) { anatpaste::define_operators(m); }

// `import anatpaste_gpu._C` only has to load the library, which runs the registrations above.
PyMODINIT_FUNC PyInit__C(void) {
  static PyModuleDef module_definition = {
      PyModuleDef_HEAD_INIT, "_C", nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr};
  return PyModule_Create(&module_definition);
}
