// `import anatpaste_gpu._CUDA` only has to load the library: every launcher registers its own operators.
#include <Python.h>

PyMODINIT_FUNC PyInit__CUDA(void) {
  static PyModuleDef module_definition = {
      PyModuleDef_HEAD_INIT, "_CUDA", nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr};
  return PyModule_Create(&module_definition);
}
