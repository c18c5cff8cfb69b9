// A stack of layers, forward and backward, for up to CHUNK_ROWS rows of a batch.
#pragma once

#include "gemm.h"
#include "network.h"

namespace OM_NAMESPACE {

using openmined::Body;
using openmined::CHUNK_ROWS;
using openmined::Dense;
using openmined::MOST_LAYERS;

// Takes pieces from a block of memory; without one it only counts.
struct Arena {
    float* next;
    int64_t used = 0;
    float* take(int64_t floats) {
        float* piece = next == nullptr ? nullptr : next + used;
        used += round_up(floats, 16);
        return piece;
    }
};

// Where a body keeps what it computes: panels [rows / PANEL][features, rounded up][PANEL].
struct Buffers {
    float* activations[MOST_LAYERS + 1];  // the inputs, then each layer's output
    float* slopes[MOST_LAYERS];           // derivative of each layer's swish
    float* outputs;                       // of all heads: [rows / PANEL][outputs][PANEL]
    float* output_gradients;
    float* gradients[2];  // of a layer's sums and of those before
    float* turned;
    float* turned_weights[MOST_LAYERS];  // of layers with WIDE inputs

    // `training` false: without what only the backward pass needs; layers then take turns in two buffers.
    Buffers(Arena& arena, const Body& body, bool training) {
        const int64_t rows = round_up(CHUNK_ROWS, PANEL);
        int64_t widest = 0;
        for (int64_t index = 0; index < body.layer_count; index++) {
            const Dense& layer = body.layers[index];
            if (layer.inputs > widest) widest = layer.inputs;
            if (layer.outputs > widest) widest = layer.outputs;
        }
        widest = round_up(widest, PANEL);
        for (int64_t index = 0; index <= body.layer_count; index++) {
            const int64_t width = index == 0 ? body.layers[0].inputs : body.layers[index - 1].outputs;
            if (training || index < 2)
                activations[index] = arena.take(rows * (training ? round_up(width, PANEL) : widest));
            else
                activations[index] = activations[index - 2];
            if (index > 0) slopes[index - 1] = training ? arena.take(rows * round_up(width, PANEL)) : nullptr;
        }
        outputs = arena.take(rows * body.outputs);
        output_gradients = training ? arena.take(rows * body.outputs) : nullptr;
        for (float*& gradient : gradients) gradient = training ? arena.take(rows * widest) : nullptr;
        turned = training ? arena.take(rows * widest) : nullptr;
        for (int64_t index = 1; index < body.layer_count && training; index++) {
            const Dense& layer = body.layers[index];
            turned_weights[index] = layer.inputs >= WIDE ? arena.take(layer.inputs * layer.outputs) : nullptr;
        }
    }
};

// x * sigmoid(x) in place, and its derivative into `slope` if that is wanted.
OM_INLINE void swish(float* values, float* slope, int64_t rows, int64_t columns) {
    const Vector one = broadcast(1.0f);
    const int64_t step = columns > LANES ? LANES : PANEL;
    for (int64_t at = 0; at < rows * PANEL; at += step) {
        const Vector x = load(values + at);
        const Vector sigmoid = one / (one + exponential(-x));
        const Vector y = x * sigmoid;
        store(values + at, y);
        if (slope != nullptr) store(slope + at, sigmoid + y * (one - sigmoid));
    }
}

static void forward(const Body& body, const float* parameters, const Buffers& buffers, int64_t rows) {
    for (int64_t index = 0; index < body.layer_count; index++) {
        const Dense& layer = body.layers[index];
        const int64_t from_height = round_up(layer.inputs, PANEL), height = round_up(layer.outputs, PANEL);
        const Left weight = {parameters + layer.weight, layer.inputs, 1, layer.inputs, 0};
        for (int64_t first = 0; first < rows; first += PANEL) {
            const int64_t columns = rows - first < PANEL ? rows - first : PANEL;
            float* to = buffers.activations[index + 1] + first * height;
            float* slope = buffers.slopes[index] == nullptr ? nullptr : buffers.slopes[index] + first * height;
            multiply_panel<0>(layer.outputs, layer.inputs, columns, weight,
                              buffers.activations[index] + first * from_height, Start::bias, parameters + layer.bias,
                              to, PANEL, [=](int64_t row, int count) {
                                  swish(to + row * PANEL, slope == nullptr ? nullptr : slope + row * PANEL, count,
                                        columns);
                              });
        }
    }
    const int64_t height = round_up(body.layers[body.layer_count - 1].outputs, PANEL);
    const float* encoding = buffers.activations[body.layer_count];
    int64_t output = 0;
    for (int64_t index = 0; index < body.head_count; index++) {
        const Dense& head = body.heads[index];
        const Left weight = {parameters + head.weight, head.inputs, 1, head.inputs, 0};
        for (int64_t first = 0; first < rows; first += PANEL) {
            const int64_t columns = rows - first < PANEL ? rows - first : PANEL;
            multiply_panel<0>(head.outputs, head.inputs, columns, weight, encoding + first * height, Start::bias,
                              parameters + head.bias, buffers.outputs + first * body.outputs + output * PANEL, PANEL,
                              [](int64_t, int) {});
        }
        output += head.outputs;
    }
}

// Gradients of weight and bias of one layer from those of its sums (panels of `height` features).
static void write_gradients(const Dense& dense, const float* gradient, int64_t height, const float* turned,
                            int64_t rows, bool add, float* result) {
    multiply_gradient(dense.outputs, dense.inputs, rows, gradient, height, turned, add, result + dense.weight);
    for (int64_t output = 0; output < dense.outputs; output++) {
        Vector total = broadcast(0.0f);
        float rest = 0.0f;
        for (int64_t first = 0; first < rows; first += PANEL) {
            const float* from = gradient + first * height + output * PANEL;
            if (rows - first >= PANEL)
                total += load(from) + load(from + LANES);
            else
                for (int64_t column = 0; column < rows - first; column++) rest += from[column];
        }
        float* bias = result + dense.bias + output;
        *bias = (add ? *bias : 0.0f) + (sum(total) + rest);
    }
}

OM_INLINE void multiply_by(float* values, const float* factors, int64_t count) {
    for (int64_t at = 0; at < count; at += LANES) store(values + at, load(values + at) * load(factors + at));
}

// Writes, or adds to, the gradients of all parameters of a body, given those of its outputs. The chunk that writes is
// the first one with these parameters.
static void backward(const Body& body, const float* parameters, const Buffers& buffers, int64_t rows, bool add,
                     float* result) {
    int64_t width = body.layers[body.layer_count - 1].outputs;
    int64_t height = round_up(width, PANEL);
    turn_panels(buffers.activations[body.layer_count], width, rows, buffers.turned);
    float* gradient = buffers.gradients[0];
    float* before = buffers.gradients[1];
    int64_t output = 0;
    for (int64_t index = 0; index < body.head_count; index++) {
        const Dense& head = body.heads[index];
        const float* head_gradient = buffers.output_gradients + output * PANEL;
        write_gradients(head, head_gradient, body.outputs, buffers.turned, rows, add, result);
        const Left weight = {parameters + head.weight, 1, head.inputs, head.outputs, 0};
        const float* slope = buffers.slopes[body.layer_count - 1];
        const bool last = index == body.head_count - 1;
        for (int64_t first = 0; first < rows; first += PANEL) {
            const int64_t columns = rows - first < PANEL ? rows - first : PANEL;
            float* to = gradient + first * height;
            multiply_panel<1>(width, head.outputs, columns, weight, head_gradient + first * body.outputs,
                              index == 0 ? Start::zero : Start::result, nullptr, to, PANEL,
                              [=](int64_t row, int count) {
                                  const int64_t at = row * PANEL;
                                  if (last) multiply_by(to + at, slope + first * height + at, count * PANEL);
                              });
        }
        output += head.outputs;
    }
    for (int64_t index = body.layer_count - 1; index >= 0; index--) {
        const Dense& layer = body.layers[index];
        turn_panels(buffers.activations[index], layer.inputs, rows, buffers.turned);
        write_gradients(layer, gradient, height, buffers.turned, rows, add, result);
        if (index == 0) return;
        width = layer.inputs;
        const int64_t before_height = round_up(width, PANEL);
        const float* from = parameters + layer.weight;
        float* turned_weight = buffers.turned_weights[index];
        if (turned_weight != nullptr && !add) turn(from, layer.outputs, layer.inputs, turned_weight);
        const Left weight = turned_weight != nullptr ? Left{turned_weight, layer.outputs, 1, layer.outputs, 0}
                                                     : Left{from, 1, layer.inputs, layer.outputs, 0};
        const float* slope = buffers.slopes[index - 1];
        for (int64_t first = 0; first < rows; first += PANEL) {
            const int64_t columns = rows - first < PANEL ? rows - first : PANEL;
            float* to = before + first * before_height;
            const auto after = [=](int64_t row, int count) {
                const int64_t at = row * PANEL;
                multiply_by(to + at, slope + first * before_height + at, count * PANEL);
            };
            if (turned_weight != nullptr)
                multiply_panel<0>(width, layer.outputs, columns, weight, gradient + first * height, Start::zero,
                                  nullptr, to, PANEL, after);
            else
                multiply_panel<1>(width, layer.outputs, columns, weight, gradient + first * height, Start::zero,
                                  nullptr, to, PANEL, after);
        }
        float* const swap = gradient;
        gradient = before;
        before = swap;
        height = before_height;
    }
}

}  // namespace OM_NAMESPACE
