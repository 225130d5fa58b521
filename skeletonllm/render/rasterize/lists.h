// Which Gaussians touch which tiles, in depth order.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "lanes.h"

namespace {

constexpr int TILE = 8;
constexpr int BLOCKS = TILE * TILE / LANES;
constexpr int ROWS = TILE / BLOCKS;
constexpr int MAX_CHANNELS = 8;
constexpr float MIN_ALPHA = 1.0f / 255;
constexpr double HALF_LOG2_E = 0.5 * 1.4426950408889634;
// A little more than log2(255), for rounding.
constexpr float LOG2_255 = 7.99436f;
constexpr int STRIPS_OF_BAND = 8;

struct Shape {
    int64_t images, gaussians;
    int channels, height, width;

    int strips() const { return (height + TILE - 1) / TILE; }
    int tiles() const { return (width + TILE - 1) / TILE; }
    int bands() const { return (strips() + STRIPS_OF_BAND - 1) / STRIPS_OF_BAND; }
    int64_t pixels() const { return int64_t(height) * width; }
};

struct Gaussians {
    const float *means, *conics, *colors, *opacities;
    const int64_t* keys;
};

// log2(alpha) = strength - (scale dx + shear dy)^2 - spread dy^2: a sum of squares loses no digits.
struct alignas(64) Splat {
    float x, y, scale, shear, spread, strength;
    float color[MAX_CHANNELS];
};

// Where alpha reaches the cut: rows, and in a row dy the columns x - slant dy +- sqrt(reach - spread dy^2) width.
struct alignas(32) Extent {
    float x, y, slant, spread, reach, width;
    int32_t first, last;
};

struct Work {
    std::vector<std::pair<uint64_t, uint32_t>> order, other;
    std::vector<Splat> splats;
    std::vector<Extent> extents;
    std::vector<int32_t> strip_start;
    std::vector<uint32_t> strip_list;
    // Of each tile of the strip in depth order: splat << BLOCKS | a bit for each block that it touches.
    std::vector<uint32_t> tile_list;
    std::vector<int32_t> tile_count;
    int capacity;
    // Of each Gaussian, over a band and over an image.
    std::vector<float> sums, total;
};

// Stable, by the bytes in which any two keys differ.
void sort_by_key(const int64_t* keys, int64_t count, Work& work) {
    work.order.resize(count);
    work.other.resize(count);
    uint64_t differ = 0;
    for (int64_t i = 0; i < count; i++) {
        work.order[i] = {uint64_t(keys[i]) ^ (uint64_t(1) << 63), uint32_t(i)};
        differ |= uint64_t(keys[i]) ^ uint64_t(keys[0]);
    }
    for (int shift = 0; shift < 64; shift += 8) {
        if (!(differ >> shift & 255)) continue;
        uint32_t place[257] = {};
        for (const auto& item : work.order) place[(item.first >> shift & 255) + 1]++;
        for (int i = 0; i < 256; i++) place[i + 1] += place[i];
        for (const auto& item : work.order) work.other[place[item.first >> shift & 255]++] = item;
        work.order.swap(work.other);
    }
}

bool finite(const float* values, int count) {
    for (int i = 0; i < count; i++) {
        if (!std::isfinite(values[i])) return false;
    }
    return true;
}

// Where each Gaussian of an image shows; nowhere what cannot be drawn.
void prepare(const Shape& shape, const Gaussians& all, int64_t image, Work& work) {
    const int64_t start = image * shape.gaussians;
    sort_by_key(all.keys + start, shape.gaussians, work);
    work.splats.resize(shape.gaussians);
    work.extents.resize(shape.gaussians);
    for (int64_t at = 0; at < shape.gaussians; at++) {
        const int64_t i = start + at;
        const float *mean = all.means + 2 * i, *conic = all.conics + 3 * i, *color = all.colors + shape.channels * i;
        const float opacity = all.opacities[i];
        work.extents[at].last = -1;
        const double a = conic[0], b = conic[1], determinant = a * conic[2] - b * b;
        if (!(opacity >= MIN_ALPHA) || !finite(&opacity, 1) || !finite(mean, 2) || !finite(conic, 3)) continue;
        if (!(a > 0) || !(determinant > 0) || !finite(color, shape.channels)) continue;
        const double inverse = 1 / a;
        const float strength = std::log2(opacity), reach = strength + LOG2_255;
        const float slant = float(b * inverse), spread = float(determinant * inverse * HALF_LOG2_E);
        const float scale = std::sqrt(float(a * HALF_LOG2_E)), width = 1 / scale, height = reach / spread;
        const float half = std::sqrt(height), wide = std::sqrt(reach * width * width + slant * slant * height);
        const float first = std::ceil(mean[1] - half - 0.501f), last = std::floor(mean[1] + half - 0.499f);
        if (!(last >= 0) || !(first < float(shape.height))) continue;
        if (!(mean[0] + wide > -1) || !(mean[0] - wide < float(shape.width + 1))) continue;
        Splat& splat = work.splats[at];
        splat.x = mean[0], splat.y = mean[1];
        splat.scale = scale, splat.shear = scale * slant, splat.spread = spread;
        splat.strength = std::min(strength, 100.0f);
        for (int c = 0; c < shape.channels; c++) splat.color[c] = color[c];
        work.extents[at] = {mean[0], mean[1], slant, spread, reach, width, int32_t(std::max(first, 0.0f)),
                            int32_t(std::min(last, float(shape.height - 1)))};
    }
}

// The splats that touch each strip of [begin, end), in depth order.
void list_strips(int begin, int end, Work& work) {
    work.strip_start.assign(end - begin + 2, 0);
    const auto each = [&](auto take) {
        for (const auto& item : work.order) {
            const Extent& extent = work.extents[item.second];
            const int first = std::max(extent.first / TILE, begin), last = std::min(extent.last, end * TILE - 1);
            for (int strip = first; strip * TILE <= last; strip++) take(strip - begin, item.second);
        }
    };
    each([&](int strip, uint32_t) { work.strip_start[strip + 2]++; });
    for (size_t i = 2; i < work.strip_start.size(); i++) work.strip_start[i] += work.strip_start[i - 1];
    work.strip_list.resize(work.strip_start.back());
    each([&](int strip, uint32_t splat) { work.strip_list[work.strip_start[strip + 1]++] = splat; });
}

// The first and last tile that each row of a strip touches, and of all rows.
struct Spans {
#if defined(__AVX2__)
    __m256i first, last;
#else
    int32_t first[TILE], last[TILE];
#endif
    int from, to;

    // A bit for each block of a tile that some row touches.
    unsigned blocks(int tile) const {
#if defined(__AVX2__)
        const __m256i t = _mm256_set1_epi32(tile);
        const __m256i out = _mm256_or_si256(_mm256_cmpgt_epi32(first, t), _mm256_cmpgt_epi32(t, last));
        const __m256i both = _mm256_and_si256(out, _mm256_shuffle_epi32(out, 0xB1));
        return ~_mm256_movemask_pd(_mm256_castsi256_pd(both)) & ((1u << BLOCKS) - 1);
#else
        unsigned found = 0;
        for (int row = 0; row < TILE; row++) found |= unsigned(first[row] <= tile && tile <= last[row]) << row / ROWS;
        return found;
#endif
    }
};

// `top` is the first row's centre. A pixel's centre lies half a pixel inside it; a little more is taken, for rounding.
Spans spans_of(const Extent& extent, float top, float right) {
    Spans spans;
#if defined(__AVX2__)
    const auto all = [](float x) { return _mm256_set1_ps(x); };
    const __m256 dy = _mm256_add_ps(_mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7), all(top - extent.y));
    const __m256 left = _mm256_sub_ps(all(extent.reach), _mm256_mul_ps(all(extent.spread), _mm256_mul_ps(dy, dy)));
    const __m256 root = _mm256_mul_ps(_mm256_sqrt_ps(left), all(extent.width));
    const __m256 half = _mm256_blendv_ps(all(-1e9f), root, _mm256_cmp_ps(left, all(0), _CMP_GE_OQ));
    const __m256 middle = _mm256_sub_ps(all(extent.x - 0.5f), _mm256_mul_ps(all(extent.slant), dy));
    const __m256 low = _mm256_sub_ps(middle, _mm256_add_ps(half, all(0.001f)));
    const __m256 high = _mm256_add_ps(middle, _mm256_add_ps(half, all(0.001f)));
    const __m256 begin = _mm256_ceil_ps(_mm256_min_ps(_mm256_max_ps(low, all(0)), all(right)));
    const __m256 end = _mm256_floor_ps(_mm256_min_ps(_mm256_max_ps(high, all(-1)), all(right - 1)));
    spans.first = _mm256_srai_epi32(_mm256_cvttps_epi32(begin), 3);
    spans.last = _mm256_srai_epi32(_mm256_cvttps_epi32(end), 3);
    // The complement turns a minimum into a maximum: both at once.
    const __m256i flipped = _mm256_xor_si256(spans.first, _mm256_set1_epi32(-1));
    const __m256i a = _mm256_unpacklo_epi32(flipped, spans.last), b = _mm256_unpackhi_epi32(flipped, spans.last);
    const __m256i four = _mm256_max_epi32(a, b);
    const __m128i two = _mm_max_epi32(_mm256_castsi256_si128(four), _mm256_extracti128_si256(four, 1));
    const __m128i one = _mm_max_epi32(two, _mm_unpackhi_epi64(two, two));
    spans.from = ~_mm_cvtsi128_si32(one);
    spans.to = _mm_extract_epi32(one, 1);
#else
    spans.from = INT32_MAX, spans.to = -1;
    for (int row = 0; row < TILE; row++) {
        const float dy = float(row) + (top - extent.y), left = extent.reach - extent.spread * (dy * dy);
        const float half = left >= 0 ? std::sqrt(left) * extent.width : -1e9f;
        const float middle = extent.x - 0.5f - extent.slant * dy;
        const float low = middle - (half + 0.001f), high = middle + (half + 0.001f);
        spans.first[row] = int32_t(std::ceil(low > 0 ? std::min(low, right) : 0)) / TILE;
        spans.last[row] = high >= 0 ? int32_t(std::min(high, right - 1)) / TILE : -1;
        spans.from = std::min(spans.from, spans.first[row]);
        spans.to = std::max(spans.to, spans.last[row]);
    }
#endif
    return spans;
}

// The splats that touch each tile of a strip, with the rows in which they do.
void list_tiles(const Shape& shape, int strip, int number, Work& work) {
    const int begin = work.strip_start[number], count = work.strip_start[number + 1] - begin, tiles = shape.tiles();
    work.capacity = count;
    work.tile_count.assign(tiles, 0);
    if (work.tile_list.size() < size_t(count) * tiles) work.tile_list.resize(size_t(count) * tiles);
    // Some at a time: how many tiles each touches cannot be foretold, so all of them are found before any is used.
    constexpr int SOME = 32;
    Spans spans[SOME];
    for (int start = 0; start < count; start += SOME) {
        const uint32_t* list = work.strip_list.data() + begin + start;
        const int some = std::min(SOME, count - start);
        for (int k = 0; k < some; k++) {
            spans[k] = spans_of(work.extents[list[k]], float(strip * TILE) + 0.5f, float(tiles * TILE));
        }
        for (int k = 0; k < some; k++) {
            for (int tile = spans[k].from; tile <= spans[k].to; tile++) {
                const unsigned blocks = spans[k].blocks(tile);
                work.tile_list[size_t(tile) * count + work.tile_count[tile]] = list[k] << BLOCKS | blocks;
                work.tile_count[tile] += blocks != 0;
            }
        }
    }
}

}  // namespace
