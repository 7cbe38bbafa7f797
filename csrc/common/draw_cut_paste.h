// The drawn parameters of CutPaste (Li et al., "CutPaste: self-supervised learning for anomaly detection and
// localization", CVPR 2021). Every backend calls this one draw.
#pragma once

#include "draw.h"
#include "rotation.h"

namespace anatpaste {

// A patch as it was cut, or a scar: narrow and turned. A union is one or the other, each half of the time.
enum CutPasteVariant : int32_t { kCutPasteNormal = 0, kCutPasteScar = 1, kCutPasteUnion = 2 };

ANATPASTE_HD TurnedRectangle turned_patch(const CutPasteParams& p) {
  return turned_rectangle(p.cut_h, p.cut_w, {p.cosine, p.sine});
}

// Where a box is pasted along one axis: anywhere it fits, or at the border if it fits nowhere.
ANATPASTE_HD int32_t draw_place(uint32_t word, int32_t side, int32_t box) {
  return integer_below(word, max_of(side - box, 0) + 1);
}

ANATPASTE_HD CutPasteParams draw_cut_paste_normal(const CutPasteSettings& s, int32_t height, int32_t width,
                                                  int64_t seed, int64_t sample, uint32_t step) {
  const Philox4 cut = random_block(seed, sample, step, kDomainCutPaste, 0);
  const Philox4 paste = random_block(seed, sample, step, kDomainCutPaste, 1);
  CutPasteParams p;
  p.kind = kCutPasteNormal;
  const PatchSize size = draw_patch_size(s, cut.x, cut.y, height, width);
  p.cut_h = size.height;
  p.cut_w = size.width;
  p.top = draw_place(cut.z, height, p.cut_h);
  p.left = draw_place(cut.w, width, p.cut_w);
  p.cosine = kWholeTurn;
  p.sine = 0;
  p.paste_top = draw_place(paste.x, height, p.cut_h);
  p.paste_left = draw_place(paste.y, width, p.cut_w);
  p.brightness = real_between(paste.z, s.jitter_low, s.jitter_high);
  p.contrast = real_between(paste.w, s.jitter_low, s.jitter_high);
  return p;
}

ANATPASTE_HD CutPasteParams draw_cut_paste_scar(const CutPasteSettings& s, int32_t height, int32_t width,
                                                int64_t seed, int64_t sample, uint32_t step) {
  const Philox4 cut = random_block(seed, sample, step, kDomainCutPasteScar, 0);
  const Philox4 paste = random_block(seed, sample, step, kDomainCutPasteScar, 1);
  const Philox4 jitter = random_block(seed, sample, step, kDomainCutPasteScar, 2);
  CutPasteParams p;
  p.kind = kCutPasteScar;
  p.cut_w = clamp_to(round_to_int(real_between(cut.x, s.scar_width_low, s.scar_width_high)), 1, width);
  p.cut_h = clamp_to(round_to_int(real_between(cut.y, s.scar_length_low, s.scar_length_high)), 1, height);
  p.top = draw_place(cut.z, height, p.cut_h);
  p.left = draw_place(cut.w, width, p.cut_w);
  const Turn turn = turn_of(real_between(paste.x, s.rotation_low, s.rotation_high));
  p.cosine = turn.cosine;
  p.sine = turn.sine;
  const TurnedRectangle patch = turned_patch(p);
  p.paste_top = draw_place(paste.y, height, patch.box_height);
  p.paste_left = draw_place(paste.z, width, patch.box_width);
  p.brightness = real_between(jitter.x, s.jitter_low, s.jitter_high);
  p.contrast = real_between(jitter.y, s.jitter_low, s.jitter_high);
  return p;
}

// A union's sample is the one that its own variant would have got.
ANATPASTE_HD CutPasteParams draw_cut_paste(const CutPasteSettings& s, int32_t height, int32_t width,
                                           int64_t seed, int64_t sample, uint32_t step) {
  bool scar = s.variant == kCutPasteScar;
  if (s.variant == kCutPasteUnion) {
    scar = integer_below(random_block(seed, sample, step, kDomainCutPasteUnion, 0).x, 2) == kCutPasteScar;
  }
  return scar ? draw_cut_paste_scar(s, height, width, seed, sample, step)
              : draw_cut_paste_normal(s, height, width, seed, sample, step);
}

// Parameters handed in by a caller, forced to where no kernel can read or write out of bounds. Valid ones
// (all that draw_cut_paste can give) are returned as they are.
ANATPASTE_HD CutPasteParams sanitised(CutPasteParams p, int32_t height, int32_t width) {
  p.cut_h = clamp_to(p.cut_h, 1, height);
  p.cut_w = clamp_to(p.cut_w, 1, width);
  p.top = clamp_to(p.top, 0, height - p.cut_h);
  p.left = clamp_to(p.left, 0, width - p.cut_w);
  p.cosine = clamp_to(p.cosine, -kWholeTurn, kWholeTurn);
  p.sine = clamp_to(p.sine, -kWholeTurn, kWholeTurn);
  p.paste_top = clamp_to(p.paste_top, 0, height - 1);
  p.paste_left = clamp_to(p.paste_left, 0, width - 1);
  return p;
}

}  // namespace anatpaste
