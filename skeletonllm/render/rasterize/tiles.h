// The pixels of a tile: where they are and where they lie in memory.
#pragma once

#include "lists.h"

namespace {

struct Place {
    Lanes x, y;
};

// Centres of the pixels of a block.
Place place(int x0, int y0, int block) {
    float x[LANES], y[LANES];
    for (int i = 0; i < LANES; i++) {
        x[i] = float(x0 + i % TILE) + 0.5f;
        y[i] = float(y0 + block * ROWS + i / TILE) + 0.5f;
    }
    return {load(x), load(y)};
}

// One tile of a plane, where it lies or copied.
template <class Float>
struct View {
    Float* start;
    int64_t stride;

    Lanes read(int block) const { return load(start + block * ROWS * stride, start + (block * ROWS + 1) * stride); }
    void write(int block, Lanes a) const { store(start + block * ROWS * stride, start + (block * ROWS + 1) * stride, a); }
};

// Where a tile lies in a plane, and how much of it is in the picture.
struct Window {
    int64_t start;
    int stride, rows, columns;
    bool whole;

    Window(const Shape& shape, int strip, int tile)
        : start(int64_t(strip) * TILE * shape.width + tile * TILE),
          stride(shape.width),
          rows(std::min(TILE, shape.height - strip * TILE)),
          columns(std::min(TILE, shape.width - tile * TILE)),
          whole(rows == TILE && columns == TILE) {}

    // Asks the memory for the tile ahead of its use.
    void fetch(const float* plane) const {
        if (!whole) return;
        for (int row = 0; row < TILE; row++) __builtin_prefetch(plane + start + int64_t(row) * stride + TILE - 1);
    }

    // A plane that is not there is 0, and so is what lies outside the picture.
    View<const float> read(const float* plane, float* copy) const {
        if (plane && whole) return {plane + start, stride};
        std::memset(copy, 0, sizeof(float) * TILE * TILE);
        for (int row = 0; plane && row < rows; row++) {
            std::memcpy(copy + row * TILE, plane + start + int64_t(row) * stride, sizeof(float) * columns);
        }
        return {copy, TILE};
    }

    // Where to write; what was written into the copy has to be put in its place after that.
    View<float> write(float* plane, float* copy) const {
        return whole ? View<float>{plane + start, stride} : View<float>{copy, TILE};
    }

    void put(float* plane, const float* copy) const {
        for (int row = 0; !whole && row < rows; row++) {
            std::memcpy(plane + start + int64_t(row) * stride, copy + row * TILE, sizeof(float) * columns);
        }
    }
};

}  // namespace
