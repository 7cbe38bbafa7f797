// The schemas of every operator, in one place: for namespace anatpaste (ops.cpp), and for the test namespaces
// in which the SIMT executor runs the CUDA kernels. Kernels register themselves: csrc/cpu/<op>.cpp under CPU,
// csrc/cuda/<op>.cu under CUDA. The Python wrapper and the fake kernel of <op> are in
// anatpaste_gpu/ops/<op>.py.
#pragma once

#include <torch/csrc/stable/library.h>

namespace anatpaste {

inline void define_operators(torch::stable::detail::StableLibrary& m) {
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
  // Random augmentation (equation 1). index: int64 (B,), the samples' numbers; seed and step: one int64 each,
  // on the CPU or beside the images. settings: the fields of common/settings.h in their order. params_int
  // int32 (B,9) and params_real float32 (B,4) have the columns of PasteParams in common/params.h; given, they
  // are replayed. figure is empty unless asked for.
  m.def("draw_image_jitter(Tensor index, Tensor seed, Tensor step, float[] settings) -> Tensor");
  m.def("image_jitter(Tensor image, Tensor index, Tensor seed, Tensor step, float[] settings) -> Tensor");
  m.def(
      "draw_anat_paste(Tensor index, Tensor seed, Tensor step, Tensor lung_count, int height, int width, "
      "float[] settings) -> (Tensor params_int, Tensor params_real, Tensor rank)");
  m.def(
      "anat_paste(Tensor image, Tensor lung_mask, Tensor index, Tensor seed, Tensor step, "
      "Tensor? params_int, Tensor? params_real, float[] settings, bool return_figure) "
      "-> (Tensor out, Tensor params_int, Tensor params_real, Tensor figure)");
  // CutPaste. params_int int32 (B,9) and params_real float32 (B,2) have the columns of CutPasteParams in
  // common/params.h. mask is empty unless asked for.
  m.def(
      "draw_cut_paste(Tensor index, Tensor seed, Tensor step, int height, int width, float[] settings) "
      "-> (Tensor params_int, Tensor params_real)");
  m.def(
      "cut_paste(Tensor image, Tensor index, Tensor seed, Tensor step, Tensor? params_int, "
      "Tensor? params_real, float[] settings, bool return_mask) "
      "-> (Tensor out, Tensor params_int, Tensor params_real, Tensor mask)");
}

}  // namespace anatpaste
