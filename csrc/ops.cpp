// Defines namespace anatpaste from the one list of schemas, and tells Python the fields of each operator's
// settings and parameters.
#include <Python.h>
#include <torch/csrc/stable/library.h>

#include "common/params.h"
#include "common/settings.h"
#include "schemas.h"

STABLE_TORCH_LIBRARY(anatpaste, m) { anatpaste::define_operators(m); }

namespace {

// The names as a tuple of strings; null, with Python's exception set, where memory runs out.
template <int count>
PyObject* tuple_of(const char* const (&names)[count]) {
  PyObject* tuple = PyTuple_New(count);
  for (int i = 0; tuple != nullptr && i < count; ++i) {
    PyObject* name = PyUnicode_FromString(names[i]);
    if (name == nullptr || PyTuple_SetItem(tuple, i, name) != 0) Py_CLEAR(tuple);
  }
  return tuple;
}

template <typename Settings>
PyObject* fields_of() {
  return tuple_of(Settings::kNames);
}

// The columns of params_int and of params_real.
template <typename Params>
PyObject* columns_of() {
  PyObject* ints = tuple_of(Params::kIntNames);
  PyObject* reals = ints != nullptr ? tuple_of(Params::kRealNames) : nullptr;
  PyObject* both = reals != nullptr ? PyTuple_Pack(2, ints, reals) : nullptr;
  Py_XDECREF(ints);
  Py_XDECREF(reals);
  return both;
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
                     add_names(table, "image_jitter", fields_of<anatpaste::ImageJitterSettings>()) &&
                     add_names(table, "anat_paste", fields_of<anatpaste::AnatPasteSettings>()) &&
                     add_names(table, "cut_paste", fields_of<anatpaste::CutPasteSettings>()) &&
                     PyObject_SetAttrString(module, "SETTINGS", table) == 0;
  Py_XDECREF(table);
  return added;
}

// `PARAMS`: operator -> the names of the columns of its params_int, and those of its params_real.
bool add_params(PyObject* module) {
  PyObject* table = PyDict_New();
  const bool added = table != nullptr &&
                     add_names(table, "anat_paste", columns_of<anatpaste::PasteParams>()) &&
                     add_names(table, "cut_paste", columns_of<anatpaste::CutPasteParams>()) &&
                     PyObject_SetAttrString(module, "PARAMS", table) == 0;
  Py_XDECREF(table);
  return added;
}

}  // namespace

// `import anatpaste_gpu._C` only has to load the library, which runs the registrations above.
PyMODINIT_FUNC PyInit__C(void) {
  static PyModuleDef module_definition = {
      PyModuleDef_HEAD_INIT, "_C", nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr};
  PyObject* module = PyModule_Create(&module_definition);
  if (module != nullptr && !(add_settings(module) && add_params(module))) Py_CLEAR(module);
  return module;
}
