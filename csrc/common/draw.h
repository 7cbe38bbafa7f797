// The drawn parameters of image jitter and AnatPaste. Every backend calls this one draw.
#pragma once

#include "arith.h"
#include "params.h"
#include "philox.h"
#include "portable.h"
#include "settings.h"

namespace anatpaste {

enum FigureKind : int32_t { kRectangle = 0, kEllipse = 1 };

struct JitterFactors {
  float brightness, contrast;
};

ANATPASTE_HD int32_t round_to_int(float value) { return static_cast<int32_t>(value + 0.5f); }

// A whole number in [low, high], both ends included; the ends are whole up to rounding.
ANATPASTE_HD float whole_between(uint32_t word, float low, float high) {
  const int32_t first = round_to_int(low);
  return static_cast<float>(first + integer_below(word, round_to_int(high) - first + 1));
}

// Where in raster order among `count` lung pixels the centre lies, from the word that draw_paste hands out.
ANATPASTE_HD int32_t centre_rank(uint32_t centre_word, int32_t count) {
  return integer_below(centre_word, count);
}

struct PatchSize {
  int32_t height, width;
};

// A patch of random area and aspect, its sides rounded and clamped to the image. Settings: any that have
// ANATPASTE_PATCH_FIELDS.
template <typename Settings>
ANATPASTE_HD PatchSize draw_patch_size(const Settings& s, uint32_t area_word, uint32_t aspect_word,
                                       int32_t height, int32_t width) {
  const float area = real_between(area_word, s.area_low, s.area_high);
  const float aspect = exp_exact(real_between(aspect_word, s.log_aspect_low, s.log_aspect_high));
  return {clamp_to(round_to_int(sqrt_rn(div_rn(area, aspect))), 1, height),
          clamp_to(round_to_int(sqrt_rn(area * aspect)), 1, width)};
}

// Everything but the centre, for which the lung mask is needed: its random word is left in centre_word.
ANATPASTE_HD PasteParams draw_paste(const AnatPasteSettings& s, int32_t height, int32_t width, int64_t seed,
                                    int64_t sample, uint32_t step, uint32_t* centre_word) {
  const Philox4 cut = random_block(seed, sample, step, kDomainAnatPaste, 0);
  const Philox4 figure = random_block(seed, sample, step, kDomainAnatPaste, 1);
  const Philox4 jitter = random_block(seed, sample, step, kDomainAnatPaste, 2);
  PasteParams p;
  const PatchSize size = draw_patch_size(s, cut.x, cut.y, height, width);
  p.cut_h = size.height;
  p.cut_w = size.width;
  p.top = integer_below(cut.z, height - p.cut_h + 1);
  p.left = integer_below(cut.w, width - p.cut_w + 1);
  *centre_word = figure.x;
  p.kind = integer_below(figure.y, 2);
  p.half_h = p.cut_h / 2 - s.margin;
  p.half_w = p.cut_w / 2 - s.margin;
  p.centre_y = p.centre_x = 0;
  if (s.integer_draws) {
    p.value = div_rn(whole_between(figure.z, s.value_low, s.value_high), 255.0f);
    p.sigma = whole_between(figure.w, s.sigma_low, s.sigma_high) * s.sigma_scale;
  } else {
    p.value = real_between(figure.z, s.value_low, s.value_high);
    p.sigma = real_between(figure.w, s.sigma_low, s.sigma_high) * s.sigma_scale;
  }
  p.brightness = real_between(jitter.x, s.jitter_low, s.jitter_high);
  p.contrast = real_between(jitter.y, s.jitter_low, s.jitter_high);
  return p;
}

ANATPASTE_HD JitterFactors draw_image_jitter(const ImageJitterSettings& s, int64_t seed, int64_t sample,
                                             uint32_t step) {
  const Philox4 words = random_block(seed, sample, step, kDomainImageJitter, 0);
  return {real_between(words.x, s.jitter_low, s.jitter_high),
          real_between(words.y, s.jitter_low, s.jitter_high)};
}

// The widest blur a kernel has to make room for, in pixels: a quarter of the mean side.
ANATPASTE_HD float max_sigma(int32_t height, int32_t width) {
  return static_cast<float>(height + width) * 0.125f;
}

// Parameters handed in by a caller, forced to where no kernel can read or write out of bounds. Valid ones
// (all that draw_paste can give) are returned as they are. The comparisons put NaN at the low end.
ANATPASTE_HD PasteParams sanitised(PasteParams p, int32_t height, int32_t width) {
  p.cut_h = clamp_to(p.cut_h, 1, height);
  p.cut_w = clamp_to(p.cut_w, 1, width);
  p.top = clamp_to(p.top, 0, height - p.cut_h);
  p.left = clamp_to(p.left, 0, width - p.cut_w);
  p.half_h = clamp_to(p.half_h, -(height + width), height / 2);
  p.half_w = clamp_to(p.half_w, -(height + width), width / 2);
  p.centre_y = clamp_to(p.centre_y, 0, height - 1);
  p.centre_x = clamp_to(p.centre_x, 0, width - 1);
  const float widest = max_sigma(height, width);
  p.sigma = p.sigma > 0.0f ? (p.sigma < widest ? p.sigma : widest) : 0.0f;
  return p;
}

}  // namespace anatpaste
