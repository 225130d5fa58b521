// The rasteriser on the CPU, forward and backward. What it computes is defined by reference.py.
//
// An image is cut into bands of 64 rows, a band into tiles of 8 x 4 pixels; a SIMD lane is a pixel of a tile's row. Each
// tile has the list of the Gaussians that can reach 1/255 in it, front to back. A unit of work is a band of one image;
// units are the same whatever the number of threads, and their gradients are added in the order of the bands, so results
// are too.
//
// sigma = u^2 + v^2 in base 2, with (u, v) = L (dx, dy) and L L^T the conic: a sum of squares, so that long thin Gaussians
// do not cancel. The opacity is folded in: alpha = 2^(log2 opacity - sigma).

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

namespace {

typedef float V __attribute__((vector_size(32)));
typedef int32_t VI __attribute__((vector_size(32)));

constexpr int LANES = 8, ROWS = 4, BAND_STRIPS = 16, MAX_CHANNELS = 8, SUMS = 16;
constexpr float MIN_ALPHA = 1.0f / 255.0f, MAX_ALPHA = 0.999f, MIN_LIGHT = 1e-4f;
constexpr double LOG2E = 1.4426950408889634;
constexpr size_t GROUP_BYTES = 3 << 20;

inline V all(float x) { return V{x, x, x, x, x, x, x, x}; }
inline V zero() { return all(0.0f); }

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define SHUFFLE(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#endif
#endif
#ifndef SHUFFLE
#define SHUFFLE(x, y, ...) __builtin_shuffle(x, y, VI{__VA_ARGS__})
#endif

// Sums of neighbouring lanes of x and y, side by side.
inline V pair_sums(V x, V y) {
  return SHUFFLE(x, y, 0, 8, 2, 10, 4, 12, 6, 14) + SHUFFLE(x, y, 1, 9, 3, 11, 5, 13, 7, 15);
}

// The sum over the lanes of each of eight vectors.
inline V lane_sums(const V* x) {
  V a = pair_sums(x[0], x[1]), b = pair_sums(x[2], x[3]), c = pair_sums(x[4], x[5]), d = pair_sums(x[6], x[7]);
  V e = SHUFFLE(a, b, 0, 1, 8, 9, 4, 5, 12, 13) + SHUFFLE(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
  V f = SHUFFLE(c, d, 0, 1, 8, 9, 4, 5, 12, 13) + SHUFFLE(c, d, 2, 3, 10, 11, 6, 7, 14, 15);
  return SHUFFLE(e, f, 0, 1, 2, 3, 8, 9, 10, 11) + SHUFFLE(e, f, 4, 5, 6, 7, 12, 13, 14, 15);
}

// 2^x for -20 <= x < 20, to 2e-7: the whole part goes into the exponent, the rest through a minimax polynomial.
inline V exp2_of(V x) {
  const V magic = all(12582912.0f);
  V shifted = x + magic;
  V f = x - (shifted - magic);
  V p = all(1.3276471990e-3f);
  p = p * f + all(9.6755413344e-3f);
  p = p * f + all(5.5507132735e-2f);
  p = p * f + all(2.4022119724e-1f);
  p = p * f + all(6.9314696706e-1f);
  p = p * f + all(1.0000000717f);
  return (V)((VI)p + ((VI)shifted << 23));
}

struct Gaussian {
  float x, y, l11, l21, l22, log2_opacity;
  float a, b, determinant, reach, high, lean;  // for the tiles: see spans_of
  int32_t index;
};

struct Scene {
  const float *means, *conics, *colors, *opacities;
  const int64_t* keys;
  int64_t images, gaussians;
  int channels, height, width, threads;
  int strips() const { return (height + ROWS - 1) / ROWS; }
  int bands() const { return (strips() + BAND_STRIPS - 1) / BAND_STRIPS; }
  int tiles() const { return (width + LANES - 1) / LANES; }
};

template <class Work>
void parallel(int64_t count, int threads, Work work) {
  std::atomic<int64_t> next{0};
  auto run = [&] {
    for (int64_t i; (i = next.fetch_add(1)) < count;) work(i);
  };
  std::vector<std::thread> others;
  for (int64_t t = 1; t < std::min<int64_t>(threads, count); ++t) others.emplace_back(run);
  run();
  for (auto& other : others) other.join();
}

// The Gaussians of an image that can be seen, front to back; equal keys keep their order.
void prepare(const Scene& s, int64_t image, std::vector<Gaussian>& out, std::vector<std::pair<int64_t, int32_t>>& order) {
  const int64_t start = image * s.gaussians;
  order.clear();
  for (int64_t i = 0; i < s.gaussians; ++i) {
    const int64_t at = start + i;
    const float *m = s.means + 2 * at, *q = s.conics + 3 * at;
    const float o = s.opacities[at];
    const double determinant = double(q[0]) * q[2] - double(q[1]) * q[1];
    const bool finite = std::isfinite(m[0]) && std::isfinite(m[1]) && std::isfinite(q[0]) && std::isfinite(q[1]) &&
                        std::isfinite(q[2]) && std::isfinite(o);
    if (finite && o >= MIN_ALPHA && q[0] > 0 && q[2] > 0 && determinant > 0) order.emplace_back(s.keys[at], int32_t(i));
  }
  std::sort(order.begin(), order.end());
  out.clear();
  for (const auto& [key, index] : order) {
    const float *m = s.means + 2 * (start + index), *q = s.conics + 3 * (start + index);
    const double a = q[0], b = q[1], c = q[2], determinant = a * c - b * b, o = s.opacities[start + index];
    // A hair more than where alpha is 1/255, so that rounding never leaves a pixel out.
    const double reach = 2 * std::log(255 * o) * (1 + 1e-5) + 1e-4;
    const double half = LOG2E / 2, l11 = std::sqrt(half * a), l21 = half * b / l11;
    Gaussian g;
    g.x = m[0], g.y = m[1], g.index = index;
    g.l11 = float(l11), g.l21 = float(l21), g.l22 = float(std::sqrt(half * determinant / a));
    g.log2_opacity = float(std::log2(o));
    g.a = float(a), g.b = float(b), g.determinant = float(determinant), g.reach = float(a * reach);
    g.high = float(std::sqrt(reach * a / determinant));
    g.lean = float(b / c * std::sqrt(reach * c / determinant));
    out.push_back(g);
  }
}

struct Span {
  int32_t gaussian;
  int16_t strip, first, last;
};

// The lists of a band's tiles: list[start[tile] .. start[tile + 1]] are places in the image's Gaussians.
struct Band {
  std::vector<Span> spans;
  std::vector<int32_t> start, list;

  void fill(const Scene& s, const std::vector<Gaussian>& gaussians, int band) {
    const int first_strip = band * BAND_STRIPS, tiles = s.tiles();
    const int strips = std::min(BAND_STRIPS, s.strips() - first_strip);
    spans.clear();
    start.assign(strips * tiles + 1, 0);
    for (size_t i = 0; i < gaussians.size(); ++i) spans_of(s, gaussians[i], int32_t(i), first_strip, strips);
    for (const Span& span : spans)
      for (int tile = span.first; tile <= span.last; ++tile) ++start[span.strip * tiles + tile + 1];
    for (size_t i = 1; i < start.size(); ++i) start[i] += start[i - 1];
    list.resize(start.back());
    std::vector<int32_t>& at = places;
    at.assign(start.begin(), start.end() - 1);
    for (const Span& span : spans)
      for (int tile = span.first; tile <= span.last; ++tile) list[at[span.strip * tiles + tile]++] = span.gaussian;
  }

 private:
  std::vector<int32_t> places;

  // The tiles of each strip that the ellipse of alpha = 1/255 touches. In a row at height dy it reaches from
  // (-b dy - sqrt(a reach - det dy^2)) / a to (-b dy + sqrt(...)) / a; farthest right at dy = -lean, left at +lean.
  void spans_of(const Scene& s, const Gaussian& g, int32_t number, int first_strip, int strips) {
    const float low = (g.y - g.high - 0.5f - 0.01f) / ROWS - first_strip, top = (g.y + g.high - 0.5f + 0.01f) / ROWS - first_strip;
    if (!(top >= 0) || !(low < strips)) return;
    const int from = std::max(0, int(std::max(low, 0.0f))), to = std::min(strips - 1, int(std::min(top, float(strips))));
    const float limit = float(s.width);
    float left[BAND_STRIPS], right[BAND_STRIPS];
    for (int strip = from; strip <= to; ++strip) {
      const float base = float((first_strip + strip) * ROWS) - g.y;
      const float bottom = base + 0.5f, upper = base + (ROWS - 0.5f);
      const float dr = std::min(std::max(-g.lean, bottom), upper), dl = std::min(std::max(g.lean, bottom), upper);
      right[strip] = g.x + (-g.b * dr + std::sqrt(std::max(g.reach - g.determinant * dr * dr, 0.0f))) / g.a;
      left[strip] = g.x + (-g.b * dl - std::sqrt(std::max(g.reach - g.determinant * dl * dl, 0.0f))) / g.a;
    }
    for (int strip = from; strip <= to; ++strip) {
      const float first = std::max(std::ceil(left[strip] - 0.5f - 0.01f), 0.0f);
      const float last = std::min(std::floor(right[strip] - 0.5f + 0.01f), limit - 1);
      if (first <= last) spans.push_back({number, int16_t(strip), int16_t(int(first) / LANES), int16_t(int(last) / LANES)});
    }
  }
};

// One Gaussian over a tile: dx of the lanes, and alpha of a row.
struct Lit {
  V across, along;  // l11 * dx, l21
  float l22, dy, log2_opacity;
  V dx;

  Lit(const Gaussian& g, V x, float y) : along(all(g.l21)), l22(g.l22), dy(y - g.y), log2_opacity(g.log2_opacity), dx(x - all(g.x)) {
    across = all(g.l11) * dx;
  }
  V alpha(int row, float& d) const {
    d = dy + float(row);
    const float v = l22 * d;
    const V u = across + along * all(d);
    V power = all(log2_opacity - v * v) - u * u;
    power = power > all(-20.0f) ? power : all(-20.0f);
    V alpha = exp2_of(power);
    alpha = alpha < all(MAX_ALPHA) ? alpha : all(MAX_ALPHA);
    return alpha >= all(MIN_ALPHA) ? alpha : zero();
  }
};

// What a Gaussian takes of the light of a row. A pixel that is done has its light kept, with a minus.
inline V take(V alpha, V& light) {
  V weight = alpha * light, rest = (all(1.0f) - alpha) * light;
  VI live = rest > all(MIN_LIGHT);
  V done = (V)((VI)light | INT32_MIN);
  light = live ? rest : done;
  return live ? weight : zero();
}

inline V absolute(V x) { return (V)((VI)x & INT32_MAX); }

inline bool any_live(const V* light) {
  V most = light[0];
  for (int r = 1; r < ROWS; ++r) most = most > light[r] ? most : light[r];
  for (int i = 0; i < LANES; ++i)
    if (most[i] > 0) return true;
  return false;
}

const V FIRST_LANES = {0.5f, 1.5f, 2.5f, 3.5f, 4.5f, 5.5f, 6.5f, 7.5f};

// The last tile of a row may have fewer lanes.
inline V load(const float* from, int lanes) {
  V x = zero();
  if (lanes == LANES) std::memcpy(&x, from, sizeof(V));
  else for (int i = 0; i < lanes; ++i) x[i] = from[i];
  return x;
}

inline void store(float* to, V x, int lanes) {
  if (lanes == LANES) std::memcpy(to, &x, sizeof(V));
  else for (int i = 0; i < lanes; ++i) to[i] = x[i];
}

template <int C>
void forward_band(const Scene& s, int64_t image, const std::vector<Gaussian>& gaussians, int band, Band& work, float* out, float* cover) {
  work.fill(s, gaussians, band);
  const int tiles = s.tiles(), first_row = band * BAND_STRIPS * ROWS;
  const int64_t plane = int64_t(s.height) * s.width;
  float* planes[C + 1];
  for (int c = 0; c < C; ++c) planes[c] = out + (image * C + c) * plane;
  planes[C] = cover + image * plane;
  const int64_t last_row = std::min(s.height, first_row + BAND_STRIPS * ROWS);
  for (int c = 0; c <= C; ++c)
    std::memset(planes[c] + int64_t(first_row) * s.width, 0, sizeof(float) * (last_row - first_row) * s.width);
  for (size_t tile = 0; tile + 1 < work.start.size(); ++tile) {
    const int32_t *at = work.list.data() + work.start[tile], *end = work.list.data() + work.start[tile + 1];
    const int top = first_row + int(tile / tiles) * ROWS, left = int(tile % tiles) * LANES;
    const int lanes = std::min(LANES, s.width - left), rows = std::min(ROWS, s.height - top);
    if (at == end) continue;
    const V x = FIRST_LANES + all(float(left));
    V light[ROWS], sum[ROWS][C];
    for (int r = 0; r < ROWS; ++r) {
      light[r] = all(1.0f);
      for (int c = 0; c < C; ++c) sum[r][c] = zero();
    }
    for (int count = 1; at < end; ++at, ++count) {
      const Gaussian& g = gaussians[*at];
      const float* color = s.colors + (image * s.gaussians + g.index) * C;
      const Lit lit(g, x, float(top) + 0.5f);
      for (int r = 0; r < ROWS; ++r) {
        float dy;
        const V weight = take(lit.alpha(r, dy), light[r]);
        for (int c = 0; c < C; ++c) sum[r][c] += weight * all(color[c]);
      }
      if (count % 16 == 0 && !any_live(light)) break;
    }
    for (int r = 0; r < rows; ++r) {
      const int64_t place = int64_t(top + r) * s.width + left;
      for (int c = 0; c < C; ++c) store(planes[c] + place, sum[r][c], lanes);
      store(planes[C] + place, all(1.0f) - absolute(light[r]), lanes);
    }
  }
}

// Moments of dL/dsigma over the pixels and sums for the colours, of each Gaussian of the image: [gaussians, SUMS].
template <int C>
void backward_band(const Scene& s, int64_t image, const std::vector<Gaussian>& gaussians, int band, Band& work, const float* out,
                   const float* cover, const float* d_out, const float* d_cover, float* sums) {
  work.fill(s, gaussians, band);
  std::memset(sums, 0, sizeof(float) * SUMS * gaussians.size());
  const int tiles = s.tiles(), first_row = band * BAND_STRIPS * ROWS;
  const int64_t plane = int64_t(s.height) * s.width;
  for (size_t tile = 0; tile + 1 < work.start.size(); ++tile) {
    const int32_t *at = work.list.data() + work.start[tile], *end = work.list.data() + work.start[tile + 1];
    if (at == end) continue;
    const int top = first_row + int(tile / tiles) * ROWS, left = int(tile % tiles) * LANES;
    const int lanes = std::min(LANES, s.width - left), rows = std::min(ROWS, s.height - top);
    const V x = FIRST_LANES + all(float(left));
    // behind: what all Gaussians from here on add to the loss, less what the light that is left would.
    V light[ROWS], behind[ROWS], v[ROWS][C];
    for (int r = 0; r < ROWS; ++r) {
      light[r] = all(1.0f), behind[r] = zero();
      for (int c = 0; c < C; ++c) v[r][c] = zero();
      if (r >= rows) continue;
      const int64_t place = int64_t(top + r) * s.width + left;
      behind[r] = load(d_cover + image * plane + place, lanes) * (load(cover + image * plane + place, lanes) - all(1.0f));
      for (int c = 0; c < C; ++c) {
        v[r][c] = load(d_out + (image * C + c) * plane + place, lanes);
        behind[r] += v[r][c] * load(out + (image * C + c) * plane + place, lanes);
      }
    }
    for (int count = 1; at < end; ++at, ++count) {
      const Gaussian& g = gaussians[*at];
      const float* color = s.colors + (image * s.gaussians + g.index) * C;
      const Lit lit(g, x, float(top) + 0.5f);
      V moment0 = zero(), moment1 = zero(), moment2 = zero(), seen[C];
      for (int c = 0; c < C; ++c) seen[c] = zero();
      for (int r = 0; r < ROWS; ++r) {
        float dy;
        const V alpha = lit.alpha(r, dy), before = light[r];
        const V weight = take(alpha, light[r]);
        V value = v[r][0] * all(color[0]);
        for (int c = 1; c < C; ++c) value += v[r][c] * all(color[c]);
        for (int c = 0; c < C; ++c) seen[c] += weight * v[r][c];
        behind[r] -= weight * value;
        V d = alpha * (before * value - behind[r] / (all(1.0f) - alpha));
        d = (weight > zero()) & (alpha < all(MAX_ALPHA)) ? d : zero();
        moment0 += d;
        moment1 += d * all(dy);
        moment2 += d * all(dy * dy);
      }
      V parts[SUMS] = {moment0, moment0 * lit.dx, moment0 * lit.dx * lit.dx, moment1, moment1 * lit.dx, moment2};
      for (int c = 0; c < C; ++c) parts[6 + c] = seen[c];
      for (int c = 6 + C; c < SUMS; ++c) parts[c] = zero();
      float* to = sums + SUMS * *at;
      V total;
      std::memcpy(&total, to, sizeof(V));
      total += lane_sums(parts);
      std::memcpy(to, &total, sizeof(V));
      if (C > 2) {
        std::memcpy(&total, to + LANES, sizeof(V));
        total += lane_sums(parts + LANES);
        std::memcpy(to + LANES, &total, sizeof(V));
      }
      if (count % 16 == 0 && !any_live(light)) break;
    }
  }
}

// Images that are worked on together, so that what is kept of them stays small.
int64_t group_of(const Scene& s, size_t sums) {
  const size_t each = std::max<size_t>(1, s.gaussians * (sizeof(Gaussian) + sums * sizeof(float)));
  return std::max<int64_t>(1, std::min<int64_t>(s.images, GROUP_BYTES / each));
}

template <class PerBand, class PerImage>
void in_groups(const Scene& s, int64_t size, PerBand per_band, PerImage per_image) {
  const int bands = s.bands();
  std::vector<std::vector<Gaussian>> gaussians(size);
  for (int64_t first = 0; first < s.images; first += size) {
    const int64_t count = std::min(size, s.images - first);
    parallel(count, s.threads, [&](int64_t i) {
      thread_local std::vector<std::pair<int64_t, int32_t>> order;
      prepare(s, first + i, gaussians[i], order);
    });
    parallel(count * bands, s.threads, [&](int64_t unit) {
      thread_local Band work;
      per_band(first + unit / bands, unit / bands, int(unit % bands), gaussians[unit / bands], work);
    });
    parallel(count, s.threads, [&](int64_t i) { per_image(first + i, i, gaussians[i]); });
  }
}

template <int C>
void forward(const Scene& s, float* out, float* cover) {
  in_groups(
      s, group_of(s, 0),
      [&](int64_t image, int64_t, int band, const std::vector<Gaussian>& gaussians, Band& work) {
        forward_band<C>(s, image, gaussians, band, work, out, cover);
      },
      [](int64_t, int64_t, const std::vector<Gaussian>&) {});
}

template <int C>
void backward(const Scene& s, const float* out, const float* cover, const float* d_out, const float* d_cover, float* d_means,
              float* d_conics, float* d_colors, float* d_opacities) {
  const int bands = s.bands();
  const size_t per_band = s.gaussians * SUMS;
  const int64_t size = group_of(s, bands * SUMS);
  std::vector<float> sums(size * bands * per_band);
  in_groups(
      s, size,
      [&](int64_t image, int64_t slot, int band, const std::vector<Gaussian>& gaussians, Band& work) {
        backward_band<C>(s, image, gaussians, band, work, out, cover, d_out, d_cover, sums.data() + (slot * bands + band) * per_band);
      },
      [&](int64_t image, int64_t slot, const std::vector<Gaussian>& gaussians) {
        for (size_t k = 0; k < gaussians.size(); ++k) {
          float m[SUMS] = {};
          for (int band = 0; band < bands; ++band)
            for (int i = 0; i < 6 + C; ++i) m[i] += sums[(slot * bands + band) * per_band + k * SUMS + i];
          const int64_t at = image * s.gaussians + gaussians[k].index;
          const float *q = s.conics + 3 * at;
          d_means[2 * at] = q[0] * m[1] + q[1] * m[3];
          d_means[2 * at + 1] = q[1] * m[1] + q[2] * m[3];
          d_conics[3 * at] = -0.5f * m[2];
          d_conics[3 * at + 1] = -m[4];
          d_conics[3 * at + 2] = -0.5f * m[5];
          d_opacities[at] = m[0] / s.opacities[at];
          for (int c = 0; c < C; ++c) d_colors[at * C + c] = m[6 + c];
        }
      });
}

}  // namespace

#define EACH_CHANNEL(CALL) \
  switch (s.channels) {    \
    case 1: CALL(1); break; \
    case 2: CALL(2); break; \
    case 3: CALL(3); break; \
    case 4: CALL(4); break; \
    case 5: CALL(5); break; \
    case 6: CALL(6); break; \
    case 7: CALL(7); break; \
    case 8: CALL(8); break; \
  }

extern "C" {

void splat_forward(const float* means, const float* conics, const float* colors, const float* opacities, const int64_t* keys,
                   int64_t images, int64_t gaussians, int channels, int height, int width, int threads, float* out, float* cover) {
  const Scene s{means, conics, colors, opacities, keys, images, gaussians, channels, height, width, threads};
#define CALL(C) forward<C>(s, out, cover)
  EACH_CHANNEL(CALL)
#undef CALL
}

// The gradients must hold zeros: Gaussians that cannot be seen are left alone.
void splat_backward(const float* means, const float* conics, const float* colors, const float* opacities, const int64_t* keys,
                    int64_t images, int64_t gaussians, int channels, int height, int width, int threads, const float* out,
                    const float* cover, const float* d_out, const float* d_cover, float* d_means, float* d_conics, float* d_colors,
                    float* d_opacities) {
  const Scene s{means, conics, colors, opacities, keys, images, gaussians, channels, height, width, threads};
#define CALL(C) backward<C>(s, out, cover, d_out, d_cover, d_means, d_conics, d_colors, d_opacities)
  EACH_CHANNEL(CALL)
#undef CALL
}
}
