// The schemas of every operator, in one place. Kernels register themselves: csrc/cpu/<op>.cpp under CPU,
// csrc/cuda/<op>.cu under CUDA. The Python wrapper and the fake kernel of <op> are in anatpaste_gpu/ops/<op>.py.
#include <Python.h>

#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(anatpaste, m) {
  // Lung segmentation (Algorithm 1), step by step. B images of H x W, each on its own.
  m.def("to_grey(Tensor image) -> Tensor");
  m.def("clahe(Tensor image, float clip_limit) -> Tensor");
  m.def("otsu_threshold(Tensor levels) -> Tensor");
  m.def("binary_opening(Tensor mask) -> Tensor");
  m.def("binary_dilation(Tensor mask) -> Tensor");
  m.def("clear_border(Tensor mask) -> Tensor");
  m.def("label_components(Tensor mask) -> (Tensor, Tensor)");
  m.def("remove_small_components(Tensor mask, int min_area, bool bounding_box) -> Tensor");
  // The whole of it in one operator.
  m.def("segment_lungs(Tensor image, float clip_limit, int min_area, bool bounding_box) -> Tensor");
}

// `import anatpaste_gpu._C` only has to load the library, which runs the registrations above.
PyMODINIT_FUNC PyInit__C(void) {
  static PyModuleDef module_definition = {PyModuleDef_HEAD_INIT, "_C", nullptr, -1, nullptr,
                                          nullptr,               nullptr, nullptr, nullptr};
  return PyModule_Create(&module_definition);
}
