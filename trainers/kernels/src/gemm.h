// Matrix products by register tiles.
//
// The right side of a product lies in panels: PANEL columns of it side by side, [panel][inner][PANEL], so that a tile
// reads it from one end to the other. The left side is read where it lies, one number at a time into all lanes.
//
// Activations are kept in this form throughout, a column for each row of the batch: a layer's output is then already
// the next layer's right side, and nothing is packed. Only the gradients of weights need them the other way round.
#pragma once

#include "vector.h"

namespace OM_NAMESPACE {

// Left side of a product: element (row, k) is at from[row * row_stride + (k / block) * block_stride + (k % block) * step].
struct Left {
    const float* from;
    int64_t row_stride, step, block, block_stride;
};

enum class Start { zero, bias, result };  // what the sums begin with: nothing, a number for each row, what is there

template <int ROWS, int VECTORS, int ROW_STRIDE>
OM_INLINE void accumulate(const Left& left, int64_t inner, const float* right, Vector (&sums)[ROWS][VECTORS]) {
    const int64_t row_stride = ROW_STRIDE > 0 ? ROW_STRIDE : left.row_stride;
    const float* block = left.from;
    for (int64_t done = 0; done < inner; done += left.block, block += left.block_stride) {
        const float* groups[(ROWS + 2) / 3];  // a third as many pointers as rows: the others are reached from them
        OM_UNROLL
        for (int group = 0; group < (ROWS + 2) / 3; group++) groups[group] = block + 3 * group * row_stride;
        const int64_t count = inner - done < left.block ? inner - done : left.block;
        for (int64_t k = 0; k < count; k++, right += PANEL) {
            Vector columns[VECTORS];
            OM_UNROLL
            for (int v = 0; v < VECTORS; v++) columns[v] = load(right + v * LANES);
            OM_UNROLL
            for (int row = 0; row < ROWS; row++) {
                const Vector value = broadcast(groups[row / 3][(row % 3) * row_stride]);
                OM_UNROLL
                for (int v = 0; v < VECTORS; v++) sums[row][v] += value * columns[v];
            }
            OM_UNROLL
            for (int group = 0; group < (ROWS + 2) / 3; group++) groups[group] += left.step;
        }
    }
}

// One tile: result[row * result_stride + column] for ROWS rows and VECTORS * LANES columns.
template <int ROWS, int VECTORS, int ROW_STRIDE>
static __attribute__((noinline)) void tile(const Left& left, int64_t inner, const float* right, Start start,
                                           const float* bias, float* result, int64_t result_stride) {
    Vector sums[ROWS][VECTORS];
    OM_UNROLL
    for (int row = 0; row < ROWS; row++) {
        OM_UNROLL
        for (int v = 0; v < VECTORS; v++) {
            if (start == Start::zero)
                sums[row][v] = broadcast(0.0f);
            else if (start == Start::bias)
                sums[row][v] = broadcast(bias[row]);
            else
                sums[row][v] = load(result + row * result_stride + v * LANES);
        }
    }
    accumulate<ROWS, VECTORS, ROW_STRIDE>(left, inner, right, sums);
    OM_UNROLL
    for (int row = 0; row < ROWS; row++) {
        OM_UNROLL
        for (int v = 0; v < VECTORS; v++) store(result + row * result_stride + v * LANES, sums[row][v]);
    }
}

template <int ROWS, int VECTORS, int ROW_STRIDE>
OM_INLINE void tile_of(int rows, const Left& left, int64_t inner, const float* right, Start start, const float* bias,
                       float* result, int64_t result_stride) {
    if constexpr (ROWS > 0) {
        if (rows == ROWS)
            tile<ROWS, VECTORS, ROW_STRIDE>(left, inner, right, start, bias, result, result_stride);
        else
            tile_of<ROWS - 1, VECTORS, ROW_STRIDE>(rows, left, inner, right, start, bias, result, result_stride);
    }
}

// Rows of a product in tiles of nearly the same size: a last tile of one or two rows would be slow.
struct Tiling {
    int64_t count, size, larger;  // the first `larger` tiles have a row more than `size`
    explicit Tiling(int64_t rows) {
        count = (rows + TILE_ROWS - 1) / TILE_ROWS;
        size = count > 0 ? rows / count : 0;
        larger = count > 0 ? rows % count : 0;
    }
    int64_t begin(int64_t tile) const { return tile * size + (tile < larger ? tile : larger); }
    int rows(int64_t tile) const { return static_cast<int>(size + (tile < larger)); }
};

// A product's columns of one panel, of which `columns` are wanted; `after(first row, rows)` is called for each tile.
template <int ROW_STRIDE, typename After>
OM_INLINE void multiply_panel(int64_t rows, int64_t inner, int64_t columns, const Left& left, const float* right,
                              Start start, const float* bias, float* result, int64_t result_stride,
                              const After& after) {
    const Tiling tiles(rows);
    const int64_t row_stride = ROW_STRIDE > 0 ? ROW_STRIDE : left.row_stride;
    for (int64_t index = 0; index < tiles.count; index++) {
        const int64_t row = tiles.begin(index);
        const int count = tiles.rows(index);
        const Left part = {left.from + row * row_stride, left.row_stride, left.step, left.block, left.block_stride};
        const float* part_bias = start == Start::bias ? bias + row : nullptr;
        float* to = result + row * result_stride;
        if (columns > LANES)
            tile_of<TILE_ROWS, 2, ROW_STRIDE>(count, part, inner, right, start, part_bias, to, result_stride);
        else
            tile_of<TILE_ROWS, 1, ROW_STRIDE>(count, part, inner, right, start, part_bias, to, result_stride);
        after(row, count);
    }
}

OM_INLINE int64_t round_up(int64_t number, int64_t multiple) { return (number + multiple - 1) / multiple * multiple; }

// Panels [rows / PANEL][features, rounded up][PANEL] the other way round: [features / PANEL][rows, rounded up][PANEL].
static void turn_panels(const float* from, int64_t features, int64_t rows, float* to) {
    const int64_t height = round_up(features, PANEL), width = round_up(rows, PANEL);
    for (int64_t panel = 0; panel * PANEL < rows; panel++) {
        for (int64_t strip = 0; strip * PANEL < features; strip++) {
            const float* source = from + panel * PANEL * height + strip * PANEL * PANEL;
            float* target = to + strip * PANEL * width + panel * PANEL * PANEL;
            for (int i = 0; i < 2; i++)
                for (int j = 0; j < 2; j++)
                    transpose_block(source + i * LANES * PANEL + j * LANES, PANEL,
                                    target + j * LANES * PANEL + i * LANES, PANEL);
        }
    }
}

// Of a matrix with so long rows the nearest caches keep only a few numbers of one column: products go along its rows
// (measured with trainers/benchmarks/multiply.py; with it they are no slower than MKL's).
constexpr int64_t WIDE = 512;

// A matrix [rows, columns] the other way round.
static void turn(const float* from, int64_t rows, int64_t columns, float* to) {
    const int64_t whole_rows = rows / LANES * LANES, whole_columns = columns / LANES * LANES;
    for (int64_t row = 0; row < whole_rows; row += LANES)
        for (int64_t column = 0; column < whole_columns; column += LANES)
            transpose_block(from + row * columns + column, columns, to + column * rows + row, rows);
    for (int64_t row = 0; row < rows; row++)
        for (int64_t column = row < whole_rows ? whole_columns : 0; column < columns; column++)
            to[column * rows + row] = from[row * columns + column];
}

// weight gradient [outputs, features] += or = sum over rows of gradient (panels, `height` features each, from its row
// 0 on) times the turned inputs.
static void multiply_gradient(int64_t outputs, int64_t features, int64_t rows, const float* gradient, int64_t height,
                              const float* turned, bool add, float* result) {
    const int64_t width = round_up(rows, PANEL);
    float edge[TILE_ROWS * PANEL];
    const Tiling tiles(outputs);
    const Start start = add ? Start::result : Start::zero;
    const int64_t strips = (features + PANEL - 1) / PANEL;
    const bool along_rows = features >= WIDE;
    for (int64_t outer = 0; outer < (along_rows ? tiles.count : strips); outer++) {
        for (int64_t inner = 0; inner < (along_rows ? strips : tiles.count); inner++) {
            const int64_t index = along_rows ? outer : inner, first = (along_rows ? inner : outer) * PANEL;
            const int64_t row = tiles.begin(index), columns = features - first < PANEL ? features - first : PANEL;
            const int count = tiles.rows(index);
            const Left left = {gradient + row * PANEL, PANEL, 1, PANEL, height * PANEL};
            const float* right = turned + first * width;
            float* to = result + row * features + first;
            if (columns == PANEL) {
                tile_of<TILE_ROWS, 2, PANEL>(count, left, rows, right, start, nullptr, to, features);
            } else if (columns == LANES) {
                tile_of<TILE_ROWS, 1, PANEL>(count, left, rows, right, start, nullptr, to, features);
            } else {  // a tile would write beyond the row's end: through a small one beside it
                tile_of<TILE_ROWS, 2, PANEL>(count, left, rows, right, Start::zero, nullptr, edge, PANEL);
                for (int r = 0; r < count; r++)
                    for (int64_t column = 0; column < columns; column++) {
                        float* one = to + r * features + column;
                        *one = (add ? *one : 0.0f) + edge[r * PANEL + column];
                    }
            }
        }
    }
}

}  // namespace OM_NAMESPACE
