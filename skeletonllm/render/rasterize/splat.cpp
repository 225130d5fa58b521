// Gaussians to pixels and gradients back, many images at once. The definition is reference.py; here is what makes it fast.
//
// A strip is 8 rows of an image, a tile 8 columns of a strip, a block two rows of a tile: 16 pixels, one vector. Every
// Gaussian is listed in the tiles where one of its pixels reaches the cut, with the rows in which it does. The forward pass
// keeps a block in registers and runs through its list. The backward pass runs through the list of a tile from front to
// back too: what lies behind a Gaussian is what the pixel shows in the end less what was seen so far.
//
// An image is divided into bands of 8 strips. A thread takes an image or, where there are few, a band; gradients are summed
// over a band, and then over the bands in their order, whoever took them. So every sum has one order.

#include <atomic>
#include <new>
#include <thread>

#include "tiles.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace {

constexpr int MOMENTS = 6;
constexpr float MAX_ALPHA = 0.999f;
constexpr float MIN_TRANSMITTANCE = 1e-4f;

// Splats of a tile that are worked on together.
constexpr int CHUNK = 32;

// Of each block: the splats of the chunk that touch it, and their alphas.
struct Chunk {
    uint32_t list[BLOCKS][CHUNK + ABREAST];
    int count[BLOCKS];
    alignas(64) float alphas[BLOCKS][(CHUNK + ABREAST) * LANES];
};

// Alphas of the splats of a list at the pixels of a block; 0 below the cut. The list has some more places at its end.
void find_alphas(const Splat* splats, uint32_t* list, int count, const Place& at, float* alphas) {
    for (int i = 0; i < ABREAST; i++) list[count + i] = list[0];
    for (int start = 0; start < count; start += ABREAST) {
        const Splat* splat[ABREAST];
        Lanes dx[ABREAST], dy[ABREAST], x[ABREAST];
        for (int i = 0; i < ABREAST; i++) splat[i] = splats + list[start + i];
        for (int i = 0; i < ABREAST; i++) dx[i] = at.x - all(splat[i]->x);
        for (int i = 0; i < ABREAST; i++) dy[i] = at.y - all(splat[i]->y);
        for (int i = 0; i < ABREAST; i++) dx[i] = dx[i] * all(splat[i]->scale);
        for (int i = 0; i < ABREAST; i++) dx[i] = fma(dy[i], all(splat[i]->shear), dx[i]);
        for (int i = 0; i < ABREAST; i++) dy[i] = dy[i] * dy[i];
        for (int i = 0; i < ABREAST; i++) x[i] = fnma(dy[i], all(splat[i]->spread), all(splat[i]->strength));
        for (int i = 0; i < ABREAST; i++) x[i] = fnma(dx[i], dx[i], x[i]);
        exp2(x);
        for (int i = 0; i < ABREAST; i++) x[i] = where(x[i] >= all(MIN_ALPHA), smaller(x[i], all(MAX_ALPHA)));
        for (int i = 0; i < ABREAST; i++) store(alphas + (start + i) * LANES, x[i]);
    }
}

// Fills a chunk from the list of a tile.
void fill(Chunk& chunk, const Splat* splats, const uint32_t* list, int count, const Place* at) {
    for (int block = 0; block < BLOCKS; block++) chunk.count[block] = 0;
    for (int k = 0; k < count; k++) {
        for (int block = 0; block < BLOCKS; block++) {
            chunk.list[block][chunk.count[block]] = list[k] >> BLOCKS;
            chunk.count[block] += list[k] >> block & 1;
        }
    }
    for (int block = 0; block < BLOCKS; block++) {
        find_alphas(splats, chunk.list[block], chunk.count[block], at[block], chunk.alphas[block]);
    }
}

template <int C>
void draw_tile(const Work& work, int tile, int y0, const View<float>* planes) {
    const uint32_t* list = work.tile_list.data() + size_t(tile) * work.capacity;
    const Splat* splats = work.splats.data();
    Chunk chunk;
    Place at[BLOCKS];
    // The light that passes; it only falls, so a pixel that is done stays done. And what was left of it when it was.
    Lanes light[BLOCKS], left[BLOCKS], color[BLOCKS][C];
    for (int block = 0; block < BLOCKS; block++) {
        at[block] = place(tile * TILE, y0, block);
        light[block] = left[block] = all(1);
        for (int c = 0; c < C; c++) color[block][c] = all(0);
    }
    bool bright = true;
    for (int start = 0; start < work.tile_count[tile] && bright; start += CHUNK) {
        fill(chunk, splats, list + start, std::min(CHUNK, work.tile_count[tile] - start), at);
        bright = false;
        for (int block = 0; block < BLOCKS; block++) {
            Lanes passing = light[block], rest = left[block], sum[C];
            for (int c = 0; c < C; c++) sum[c] = color[block][c];
            for (int k = 0; k < chunk.count[block]; k++) {
                const float* of = splats[chunk.list[block][k]].color;
                const Lanes alpha = load(chunk.alphas[block] + k * LANES);
                const Lanes after = fnma(passing, alpha, passing);
                const Mask shown = after > all(MIN_TRANSMITTANCE);
                const Lanes weight = where(shown, alpha * passing);
                passing = after;
                rest = select(shown, after, rest);
                for (int c = 0; c < C; c++) sum[c] = fma(weight, all(of[c]), sum[c]);
            }
            light[block] = passing, left[block] = rest;
            for (int c = 0; c < C; c++) color[block][c] = sum[c];
            bright |= any(passing > all(MIN_TRANSMITTANCE));
        }
    }
    for (int block = 0; block < BLOCKS; block++) {
        for (int c = 0; c < C; c++) planes[c].write(block, color[block][c]);
        planes[C].write(block, all(1) - left[block]);
    }
}

template <int C>
void pull_tile(Work& work, int tile, int y0, const View<const float>* pulls, const View<const float>* shown_in_end) {
    const uint32_t* list = work.tile_list.data() + size_t(tile) * work.capacity;
    const Splat* splats = work.splats.data();
    Chunk chunk;
    Place at[BLOCKS];
    Lanes light[BLOCKS], behind[BLOCKS], pull[C + 1][BLOCKS];
    for (int block = 0; block < BLOCKS; block++) {
        at[block] = place(tile * TILE, y0, block);
        light[block] = all(1);
        behind[block] = all(0);
        for (int c = 0; c <= C; c++) {
            pull[c][block] = pulls[c].read(block);
            behind[block] = fma(pull[c][block], shown_in_end[c].read(block), behind[block]);
        }
    }
    bool bright = true;
    for (int start = 0; start < work.tile_count[tile] && bright; start += CHUNK) {
        const int count = std::min(CHUNK, work.tile_count[tile] - start);
        fill(chunk, splats, list + start, count, at);
        const float* next[BLOCKS];
        for (int block = 0; block < BLOCKS; block++) next[block] = chunk.alphas[block];
        for (int k = start; k < start + count; k++) {
            const uint32_t index = list[k] >> BLOCKS;
            const Splat& splat = splats[index];
            const Lanes dx = at[0].x - all(splat.x);
            Lanes sum = all(0), sum_y = all(0), sum_yy = all(0), of_color[C];
            for (int c = 0; c < C; c++) of_color[c] = all(0);
#pragma GCC unroll 1
            for (unsigned blocks = list[k] % (1u << BLOCKS); blocks; blocks &= blocks - 1) {
                const int block = __builtin_ctz(blocks);
                const Lanes dy = at[block].y - all(splat.y);
                const Lanes alpha = load(next[block]);
                next[block] += LANES;
                const Lanes after = fnma(light[block], alpha, light[block]);
                const Mask shown = after > all(MIN_TRANSMITTANCE);
                const Lanes weight = where(shown, alpha * light[block]);
                light[block] = after;
                Lanes value = pull[C][block];
                for (int c = 0; c < C; c++) value = fma(all(splat.color[c]), pull[c][block], value);
                behind[block] = fnma(weight, value, behind[block]);
                const Lanes gain = fnma(after, value, behind[block]) * quotient(alpha, all(1) - alpha);
                const Lanes of_sigma = where(shown & (all(MAX_ALPHA) > alpha), gain);
                const Lanes with_y = of_sigma * dy;
                sum = sum + of_sigma;
                sum_y = sum_y + with_y;
                sum_yy = fma(with_y, dy, sum_yy);
                for (int c = 0; c < C; c++) of_color[c] = fma(weight, pull[c][block], of_color[c]);
            }
            Lanes sums[MOMENTS + C] = {sum, sum * dx, sum * dx * dx, sum_y, sum_y * dx, sum_yy};
            for (int c = 0; c < C; c++) sums[MOMENTS + c] = of_color[c];
            add_sums(work.sums.data() + size_t(index) * LANES, sums);
        }
        bright = false;
        for (int block = 0; block < BLOCKS; block++) bright |= any(light[block] > all(MIN_TRANSMITTANCE));
    }
}

struct Forward {
    const Shape& shape;
    const Gaussians& gaussians;
    float *image, *cover;

    template <int C>
    void band(int64_t number, int band, Work& work) const {
        const int begin = band * STRIPS_OF_BAND, end = std::min(begin + STRIPS_OF_BAND, shape.strips());
        list_strips(begin, end, work);
        float* planes[C + 1];
        for (int c = 0; c < C; c++) planes[c] = image + (number * C + c) * shape.pixels();
        planes[C] = cover + number * shape.pixels();
        float copies[C + 1][TILE * TILE];
        View<float> views[C + 1];
        for (int strip = begin; strip < end; strip++) {
            const int64_t first = int64_t(strip) * TILE * shape.width;
            const int64_t last = std::min(first + int64_t(TILE) * shape.width, shape.pixels());
            for (float* plane : planes) std::memset(plane + first, 0, sizeof(float) * (last - first));
            list_tiles(shape, strip, strip - begin, work);
            for (int tile = 0; tile < shape.tiles(); tile++) {
                if (!work.tile_count[tile]) continue;
                const Window window(shape, strip, tile);
                for (int c = 0; c <= C; c++) views[c] = window.write(planes[c], copies[c]);
                draw_tile<C>(work, tile, strip * TILE, views);
                for (int c = 0; c <= C; c++) window.put(planes[c], copies[c]);
            }
        }
    }
};

struct Backward {
    const Shape& shape;
    const Gaussians& gaussians;
    const float *image, *cover;
    // Either may be null: no gradient came.
    const float *of_image, *of_cover;
    float *of_means, *of_conics, *of_colors, *of_opacities;
    // Sums of each band of each image, by Gaussian, where threads take bands.
    float* partial;

    template <int C>
    void band(int64_t number, int band, Work& work) const {
        const int begin = band * STRIPS_OF_BAND, end = std::min(begin + STRIPS_OF_BAND, shape.strips());
        list_strips(begin, end, work);
        work.sums.assign(shape.gaussians * LANES, 0);
        const float *pulls[C + 1], *shown[C + 1];
        for (int c = 0; c < C; c++) {
            const int64_t start = (number * C + c) * shape.pixels();
            shown[c] = image + start;
            pulls[c] = of_image ? of_image + start : nullptr;
        }
        shown[C] = cover + number * shape.pixels();
        pulls[C] = of_cover ? of_cover + number * shape.pixels() : nullptr;
        float copies[2][C + 1][TILE * TILE];
        View<const float> pull_views[C + 1], shown_views[C + 1];
        for (int strip = begin; strip < end; strip++) {
            list_tiles(shape, strip, strip - begin, work);
            for (int tile = 0; tile < shape.tiles(); tile++) {
                if (!work.tile_count[tile]) continue;
                if (tile + 1 < shape.tiles() && work.tile_count[tile + 1]) {
                    const Window next(shape, strip, tile + 1);
                    for (int c = 0; c <= C; c++) {
                        if (pulls[c]) next.fetch(pulls[c]), next.fetch(shown[c]);
                    }
                }
                const Window window(shape, strip, tile);
                for (int c = 0; c <= C; c++) {
                    pull_views[c] = window.read(pulls[c], copies[0][c]);
                    shown_views[c] = window.read(shown[c], copies[1][c]);
                }
                pull_tile<C>(work, tile, strip * TILE, pull_views, shown_views);
            }
        }
        if (!partial && band == 0) work.total.assign(shape.gaussians * LANES, 0);
        const int64_t row = (number * shape.bands() + band) * shape.gaussians;
        float* to = partial ? partial + row * LANES : work.total.data();
        for (int64_t i = 0; i < shape.gaussians * LANES; i++) to[i] += work.sums[i];
        if (partial || band + 1 < shape.bands()) return;
        for (int64_t i = 0; i < shape.gaussians; i++) {
            if (work.extents[i].last >= 0) write(number * shape.gaussians + i, to + i * LANES);
        }
    }

    // Adds up the bands of an image.
    void join(int64_t number) const {
        for (int64_t i = 0; i < shape.gaussians; i++) {
            float sums[LANES] = {};
            for (int band = 0; band < shape.bands(); band++) {
                const int64_t row = (number * shape.bands() + band) * shape.gaussians + i;
                for (int lane = 0; lane < LANES; lane++) sums[lane] += partial[row * LANES + lane];
            }
            if (std::any_of(sums, sums + LANES, [](float sum) { return sum != 0; })) {
                write(number * shape.gaussians + i, sums);
            }
        }
    }

    // From the gradient of sigma, summed with the powers of dx and dy, to the gradients of one Gaussian.
    void write(int64_t i, const float* sums) const {
        double sum[MOMENTS];
        for (int k = 0; k < MOMENTS; k++) sum[k] = sums[sum_at(k)];
        const double a = gaussians.conics[3 * i], b = gaussians.conics[3 * i + 1], c = gaussians.conics[3 * i + 2];
        of_means[2 * i] = float(-(a * sum[1] + b * sum[3]));
        of_means[2 * i + 1] = float(-(b * sum[1] + c * sum[3]));
        of_conics[3 * i] = float(0.5 * sum[2]);
        of_conics[3 * i + 1] = float(sum[4]);
        of_conics[3 * i + 2] = float(0.5 * sum[5]);
        of_opacities[i] = float(-sum[0] / gaussians.opacities[i]);
        for (int k = 0; k < shape.channels; k++) of_colors[i * shape.channels + k] = sums[sum_at(MOMENTS + k)];
    }
};

// Runs work(task, memory) for every task, on so many threads. False where memory ran out.
template <class Task>
bool run(int64_t tasks, int threads, Task task) {
    std::atomic<int64_t> next{0};
    std::atomic<bool> failed{false};
    const auto loop = [&] {
        try {
            Work work;
            for (int64_t i = next++; i < tasks && !failed; i = next++) task(i, work);
        } catch (const std::bad_alloc&) {
            failed = true;
        }
    };
    std::vector<std::thread> others;
    try {
        for (int64_t i = 1; i < std::min<int64_t>(threads, tasks); i++) others.emplace_back(loop);
    } catch (const std::exception&) {
        // Fewer threads, the same result.
    }
    loop();
    for (auto& thread : others) thread.join();
    return !failed;
}

// From so many images on a thread takes a whole one.
constexpr int MANY_IMAGES = 16;

template <int C, class Pass>
bool run_bands(const Pass& pass, int threads) {
    const Shape& shape = pass.shape;
    const int bands = shape.bands(), taken = shape.images < MANY_IMAGES ? 1 : bands;
    return run(shape.images * (bands / taken), threads, [&](int64_t task, Work& work) {
        const int64_t number = task * taken / bands;
        const int first = int(task * taken % bands);
        prepare(shape, pass.gaussians, number, work);
        for (int band = first; band < first + taken; band++) pass.template band<C>(number, band, work);
    });
}

template <class Pass>
bool run_channels(const Pass& pass, int threads) {
    switch (pass.shape.channels) {
        case 1: return run_bands<1>(pass, threads);
        case 2: return run_bands<2>(pass, threads);
        case 3: return run_bands<3>(pass, threads);
        case 4: return run_bands<4>(pass, threads);
        case 5: return run_bands<5>(pass, threads);
        case 6: return run_bands<6>(pass, threads);
        case 7: return run_bands<7>(pass, threads);
        case 8: return run_bands<8>(pass, threads);
        default: return false;
    }
}

// Fresh memory comes in pages of 4 KiB, each with a fault that costs more than filling it; ask for large ones.
void prefer_large_pages(float* start, int64_t count) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    const uintptr_t page = uintptr_t(1) << 21;
    const uintptr_t begin = (uintptr_t(start) + page - 1) / page * page, end = uintptr_t(start + count) / page * page;
    if (end > begin) madvise((void*)begin, end - begin, MADV_HUGEPAGE);
#endif
}

}  // namespace

extern "C" {

// All arrays are dense, images first; see cpu.py. Returns 0, or 1 where memory ran out.
int splat_forward(const float* means, const float* conics, const float* colors, const float* opacities,
                  const int64_t* keys, int64_t images, int64_t gaussians, int channels, int height, int width,
                  int threads, float* image, float* cover) {
    const Shape shape = {images, gaussians, channels, height, width};
    const Gaussians all = {means, conics, colors, opacities, keys};
    prefer_large_pages(image, images * channels * shape.pixels());
    prefer_large_pages(cover, images * shape.pixels());
    return !run_channels(Forward{shape, all, image, cover}, threads);
}

// The four results are given filled with 0.
int splat_backward(const float* means, const float* conics, const float* colors, const float* opacities,
                   const int64_t* keys, int64_t images, int64_t gaussians, int channels, int height, int width,
                   int threads, const float* image, const float* cover, const float* of_image, const float* of_cover,
                   float* of_means, float* of_conics, float* of_colors, float* of_opacities) {
    const Shape shape = {images, gaussians, channels, height, width};
    const Gaussians all = {means, conics, colors, opacities, keys};
    try {
        std::vector<float> partial(images < MANY_IMAGES ? images * shape.bands() * gaussians * LANES : 0);
        const Backward pass = {shape,    all,       image,     cover,        of_image, of_cover,
                               of_means, of_conics, of_colors, of_opacities, partial.empty() ? nullptr : partial.data()};
        if (!run_channels(pass, threads)) return 1;
        if (partial.empty()) return 0;
        return !run(images, threads, [&](int64_t number, Work&) { pass.join(number); });
    } catch (const std::bad_alloc&) {
        return 1;
    }
}
}
