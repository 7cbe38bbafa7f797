// Defines namespace anatpaste from the one list of schemas, and tells Python the
// fields of each operator's settings.
#include <Python.h>
#include <torch/csrc/stable/library.h>

#include "common/settings.h"
#include "schemas.h"

STABLE_TORCH_LIBRARY(anatpaste, m) { anatpaste::define_operators(m); }

namespace {

// The names of the fields, as a tuple of strings; null, with Python's exception set, where memory runs out.
template <typename Settings>
PyObject* names_of() {
  PyObject* names = PyTuple_New(Settings::kCount);
  for (int i = 0; names != nullptr && i < Settings::kCount; ++i) {
    PyObject* name = PyUnicode_FromString(Settings::kNames[i]);
    if (name == nullptr || PyTuple_SetItem(names, i, name) != 0) Py_CLEAR(names);
  }
  return names;
}

// Whether `names`, which is consumed, became an entry of `table`.
bool add_names(PyObject* table, const char* operator_name, PyObject* names) {
  const bool added = names != nullptr && PyDict_SetItemString(table, operator_name, names) == 0;
  Py_XDECREF(names);
  return added;
}

// `SETTINGS`: operator -> the names of what its argument `settings` holds, in order.
bool add_settings(PyObject* module) {
  PyObject* table = PyDict_New();
  const bool added = table != nullptr &&
                     add_names(table, "image_jitter", names_of<anatpaste::ImageJitterSettings>()) &&
                     add_names(table, "anat_paste", names_of<anatpaste::AnatPasteSettings>()) &&
                     add_names(table, "cut_paste", names_of<anatpaste::CutPasteSettings>()) &&
                     PyObject_SetAttrString(module, "SETTINGS", table) == 0;
  Py_XDECREF(table);
  return added;
}

}  // namespace

// `import anatpaste_gpu._C` only has to load the library, which runs the registrations above.
PyMODINIT_FUNC PyInit__C(void) {
  static PyModuleDef module_definition = {
      PyModuleDef_HEAD_INIT, "_C", nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr};
  PyObject* module = PyModule_Create(&module_definition);
  if (module != nullptr && !add_settings(module)) Py_CLEAR(module);
  return module;
}
