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
constexpr double LOG2_E = 1.4426950408889634;
// From so many images on each is one piece of work; fewer are divided into bands of so many strips.
constexpr int MANY_IMAGES = 16;
constexpr int STRIPS_OF_BAND = 8;

struct Shape {
    int64_t images, gaussians;
    int channels, height, width;

    int strips() const { return (height + TILE - 1) / TILE; }
    int tiles() const { return (width + TILE - 1) / TILE; }
    int bands() const { return images >= MANY_IMAGES ? 1 : (strips() + STRIPS_OF_BAND - 1) / STRIPS_OF_BAND; }
    int64_t pixels() const { return int64_t(height) * width; }
};

struct Gaussians {
    const float *means, *conics, *colors, *opacities;
    const int64_t* keys;
};

// log2(alpha) = strength - (scale dx + shear dy)^2 - spread dy^2: a sum of squares loses no digits.
struct Splat {
    float x, y, scale, shear, spread, strength;
    float color[MAX_CHANNELS];
    int32_t source;
    int32_t pad;
};

// Where alpha reaches the cut: rows, and in a row dy the columns x - slant dy +- sqrt(reach - spread dy^2) / scale.
struct Extent {
    float slant, reach, width;
    int32_t first, last;
};

struct Work {
    std::vector<std::pair<uint64_t, uint32_t>> order, other;
    std::vector<Splat> splats;
    std::vector<Extent> extents;
    std::vector<int32_t> strip_start;
    std::vector<uint32_t> strip_list;
    // Of each tile of the strip: (splat << 8 | rows) in depth order.
    std::vector<uint32_t> tile_list;
    std::vector<int32_t> tile_count;
    int capacity;
    std::vector<uint32_t> block_list[BLOCKS];
    std::vector<float> sums;
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

// Depth order, leaving out what cannot be drawn or shows nowhere.
void prepare(const Shape& shape, const Gaussians& all, int64_t image, Work& work) {
    const int64_t start = image * shape.gaussians;
    sort_by_key(all.keys + start, shape.gaussians, work);
    work.splats.clear();
    work.extents.clear();
    for (const auto& item : work.order) {
        const int64_t i = start + item.second;
        const float *mean = all.means + 2 * i, *conic = all.conics + 3 * i, *color = all.colors + shape.channels * i;
        const float opacity = all.opacities[i];
        const double a = conic[0], b = conic[1], c = conic[2], determinant = a * c - b * b;
        if (!(opacity >= MIN_ALPHA) || !finite(&opacity, 1) || !finite(mean, 2) || !finite(conic, 3)) continue;
        if (!(a > 0) || !(determinant > 0) || !finite(color, shape.channels)) continue;
        const double strength = std::log2(double(opacity));
        const double reach = strength + std::log2(255.0) + 1e-5;
        const double spread = determinant / a * (0.5 * LOG2_E), scale = std::sqrt(a * (0.5 * LOG2_E));
        const double half = std::sqrt(reach / spread), wide = std::sqrt(reach * c / (determinant * (0.5 * LOG2_E)));
        const double first = std::max(std::ceil(mean[1] - half - 0.5), 0.0);
        const double last = std::min(std::floor(mean[1] + half - 0.5), shape.height - 1.0);
        if (!(first <= last) || !(mean[0] + wide > 0) || !(mean[0] - wide < shape.width)) continue;
        Splat splat = {};
        splat.x = mean[0], splat.y = mean[1];
        splat.scale = float(scale), splat.shear = float(scale * (b / a)), splat.spread = float(spread);
        splat.strength = float(std::min(strength, 100.0));
        splat.source = int32_t(item.second);
        std::copy(color, color + shape.channels, splat.color);
        work.splats.push_back(splat);
        work.extents.push_back({float(b / a), float(reach), float(1 / scale), int32_t(first), int32_t(last)});
    }
}

// The splats that touch each strip of [begin, end), in depth order.
void list_strips(int begin, int end, Work& work) {
    work.strip_start.assign(end - begin + 2, 0);
    const auto each = [&](auto take) {
        for (size_t i = 0; i < work.extents.size(); i++) {
            const int first = std::max(work.extents[i].first / TILE, begin);
            const int last = std::min(work.extents[i].last / TILE, end - 1);
            for (int strip = first; strip <= last; strip++) take(strip - begin, uint32_t(i));
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

    // Bits of the rows that touch a tile.
    unsigned rows(int tile) const {
#if defined(__AVX2__)
        const __m256i t = _mm256_set1_epi32(tile);
        const __m256i out = _mm256_or_si256(_mm256_cmpgt_epi32(first, t), _mm256_cmpgt_epi32(t, last));
        return ~_mm256_movemask_ps(_mm256_castsi256_ps(out)) & 255;
#else
        unsigned found = 0;
        for (int row = 0; row < TILE; row++) found |= unsigned(first[row] <= tile && tile <= last[row]) << row;
        return found;
#endif
    }
};

// `top` is the first row's centre. A pixel's centre lies half a pixel inside it; a little more is taken, for rounding.
Spans spans_of(const Splat& splat, const Extent& extent, float top, float right) {
    Spans spans;
#if defined(__AVX2__)
    const auto all = [](float x) { return _mm256_set1_ps(x); };
    const __m256 dy = _mm256_add_ps(_mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7), all(top - splat.y));
    const __m256 left = _mm256_sub_ps(all(extent.reach), _mm256_mul_ps(all(splat.spread), _mm256_mul_ps(dy, dy)));
    const __m256 root = _mm256_mul_ps(_mm256_sqrt_ps(left), all(extent.width));
    const __m256 half = _mm256_blendv_ps(all(-1e9f), root, _mm256_cmp_ps(left, all(0), _CMP_GE_OQ));
    const __m256 middle = _mm256_sub_ps(all(splat.x - 0.5f), _mm256_mul_ps(all(extent.slant), dy));
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
        const float dy = float(row) + (top - splat.y), left = extent.reach - splat.spread * (dy * dy);
        const float half = left >= 0 ? std::sqrt(left) * extent.width : -1e9f;
        const float middle = splat.x - 0.5f - extent.slant * dy;
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
    for (int k = 0; k < count; k++) {
        const uint32_t index = work.strip_list[begin + k];
        const Spans spans =
            spans_of(work.splats[index], work.extents[index], float(strip * TILE) + 0.5f, float(tiles * TILE));
        for (int tile = spans.from; tile <= spans.to; tile++) {
            const unsigned rows = spans.rows(tile);
            work.tile_list[size_t(tile) * count + work.tile_count[tile]] = index << 8 | rows;
            work.tile_count[tile] += rows != 0;
        }
    }
}

}  // namespace
