// Products of matrices of any strides by the register tiles of gemm.h, with bias and activation while a tile is warm.
#pragma once

#include "../gemm.h"
#include "../../include/openmined_operators.h"
#include "elementwise_math.h"
#include "operators.h"

namespace OM_NAMESPACE {

static int64_t product_workspace(int64_t inner, int64_t columns) {
    return (inner > 0 ? inner : 1) * round_up(columns, PANEL) + TILE_ROWS * PANEL;
}

// Columns first ... first + count of the right side, side by side.
static void pack(const openmined::Product& p, int64_t first, int64_t count, float* panel) {
    const float* from = p.right + first * p.right_column;
    if (p.right_row == 1 && count == PANEL) {  // the transpose of a dense matrix, as a layer's weights are
        const int64_t whole = p.inner / LANES * LANES;
        for (int64_t k = 0; k < whole; k += LANES)
            for (int half = 0; half < 2; half++)
                transpose_block(from + half * LANES * p.right_column + k, p.right_column,
                                panel + k * PANEL + half * LANES, PANEL);
        for (int64_t k = whole; k < p.inner; k++)
            for (int64_t column = 0; column < PANEL; column++)
                panel[k * PANEL + column] = from[column * p.right_column + k];
        return;
    }
    if (p.right_column == 1 && count == PANEL) {
        for (int64_t k = 0; k < p.inner; k++) {
            store(panel + k * PANEL, load(from + k * p.right_row));
            store(panel + k * PANEL + LANES, load(from + k * p.right_row + LANES));
        }
        return;
    }
    for (int64_t k = 0; k < p.inner; k++) {
        for (int64_t column = 0; column < count; column++)
            panel[k * PANEL + column] = from[k * p.right_row + column * p.right_column];
        for (int64_t column = count; column < PANEL; column++) panel[k * PANEL + column] = 0.0f;
    }
}

static void finish(int32_t activation, float* values, int64_t count) {
    switch (activation) {
        case OM_RELU:
            for (int64_t i = 0; i < count; i++) values[i] = values[i] < 0.0f ? 0.0f : values[i];
            break;
        case OM_SIGMOID:
            for (int64_t i = 0; i < count; i++) values[i] = ::logistic(values[i]);
            break;
        case OM_TANH:
            for (int64_t i = 0; i < count; i++) values[i] = ::hyperbolic_tangent(values[i]);
            break;
        case OM_SWISH:
            for (int64_t i = 0; i < count; i++) values[i] = values[i] * ::logistic(values[i]);
            break;
        default: break;
    }
}

static void product(const openmined::Product& p, float* workspace) {
    float* const edge = workspace;
    float* const panel = workspace + TILE_ROWS * PANEL;
    const Tiling tiles(p.rows);
    for (int64_t first = 0; first < p.columns; first += PANEL) {
        const int64_t count = p.columns - first < PANEL ? p.columns - first : PANEL;
        pack(p, first, count, panel);
        for (int64_t index = 0; index < tiles.count; index++) {
            const int64_t row = tiles.begin(index);
            const int height = tiles.rows(index);
            const Left left = {p.left + row * p.left_row, p.left_row, p.left_column, p.inner > 0 ? p.inner : 1, 0};
            const bool whole = count == PANEL;
            float* const to = whole ? p.out + row * p.columns + first : edge;
            const int64_t stride = whole ? p.columns : PANEL;
            tile_of<TILE_ROWS, 2, 0>(height, left, p.inner, panel, Start::zero, nullptr, to, stride);
            for (int r = 0; r < height; r++) {
                float* values = to + r * stride;
                if (p.bias != nullptr)
                    for (int64_t column = 0; column < count; column++) values[column] += p.bias[first + column];
                if (p.activation != OM_NONE) finish(p.activation, values, count);
                if (!whole) {
                    float* const out = p.out + (row + r) * p.columns + first;
                    for (int64_t column = 0; column < count; column++) out[column] = values[column];
                }
            }
        }
    }
}

}  // namespace OM_NAMESPACE
