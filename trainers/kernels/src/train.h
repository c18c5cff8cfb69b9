// A whole update of one part of a network: gather, forward, losses, backward, Adam, minibatch by minibatch.
#pragma once

#include "body.h"
#include "losses.h"

namespace OM_NAMESPACE {

using openmined::Network;
using openmined::Part;
using openmined::TrainTask;

constexpr double BETA_1 = 0.9, BETA_2 = 0.999, ADAM_EPSILON = 1e-8;

// What a chunk is held against, turned to [rows / PANEL][numbers][PANEL].
struct TargetBuffers {
    float *continuous, *discrete, *log_probs, *allowed, *advantages, *returns, *values;
    TargetBuffers(Arena& arena, const Network& network) {
        const int64_t rows = round_up(CHUNK_ROWS, PANEL);
        continuous = arena.take(rows * network.continuous);
        discrete = arena.take(rows * network.branch_count);
        log_probs = arena.take(rows * (network.continuous + network.branch_count));
        allowed = arena.take(rows * network.logits);
        advantages = arena.take(rows);
        returns = arena.take(rows * network.signals);
        values = arena.take(rows * network.signals);
    }
};

// Whole numbers and truth values go as int32 into the lanes of a float.
OM_INLINE float as_lane(float number) { return number; }
OM_INLINE float as_lane(int64_t number) {
    const int32_t word = static_cast<int32_t>(number);
    float lane;
    memcpy(&lane, &word, sizeof lane);
    return lane;
}
OM_INLINE float as_lane(uint8_t truth) { return as_lane(static_cast<int64_t>(truth != 0 ? -1 : 0)); }

// Rows `order[0..rows)` of `from` [steps, size] into panels of `height` features.
template <typename Number>
static void gather(const Number* from, int64_t size, const int64_t* order, int64_t rows, int64_t height, float* to) {
    for (int64_t row = 0; row < rows; row++) {
        const Number* source = from + order[row] * size;
        float* column = to + row / PANEL * PANEL * height + row % PANEL;
        for (int64_t index = 0; index < size; index++) column[index * PANEL] = as_lane(source[index]);
    }
}

// Adam (Kingma and Ba 2015, algorithm 1) on `count` parameters.
struct Adam {
    float step, correction;  // learning rate over the first moment's bias correction; 1 / root of the second's
    Adam(double learning_rate, int64_t steps) {
        step = static_cast<float>(learning_rate / (1.0 - pow(BETA_1, static_cast<double>(steps))));
        correction = static_cast<float>(1.0 / sqrt(1.0 - pow(BETA_2, static_cast<double>(steps))));
    }
    void apply(const om_ppo_settings& settings, int64_t first, int64_t count) const {
        float* __restrict__ value = settings.parameters + first;
        const float* __restrict__ gradient = settings.gradient + first;
        float* __restrict__ moment = settings.moment + first;
        float* __restrict__ square = settings.square + first;
        const float new_moment = static_cast<float>(1.0 - BETA_1), old_square = static_cast<float>(BETA_2);
        const float new_square = static_cast<float>(1.0 - BETA_2), epsilon = static_cast<float>(ADAM_EPSILON);
        const float factor = step, root_factor = correction;
        for (int64_t index = 0; index < count; index++) {
            const float g = gradient[index];
            const float m = moment[index] + new_moment * (g - moment[index]);
            const float s = square[index] * old_square + new_square * g * g;
            moment[index] = m;
            square[index] = s;
            value[index] -= factor * m / (__builtin_sqrtf(s) * root_factor + epsilon);
        }
    }
    void apply(const om_ppo_settings& settings, const Body& body) const {
        for (int64_t index = 0; index < body.layer_count; index++) apply(settings, body.layers[index]);
        for (int64_t index = 0; index < body.head_count; index++) apply(settings, body.heads[index]);
    }
    void apply(const om_ppo_settings& settings, const Dense& dense) const {
        apply(settings, dense.weight, dense.inputs * dense.outputs);
        apply(settings, dense.bias, dense.outputs);
    }
};

static int64_t train_workspace(const Network& network, Part part) {
    Arena arena = {nullptr};
    const Buffers buffers(arena, part == Part::critic ? network.critic : network.actor, true);
    const TargetBuffers targets(arena, network);
    (void)buffers;
    (void)targets;
    return arena.take(round_up(network.logits * PANEL, 16)) == nullptr ? arena.used : 0;
}

struct Sums {
    double objective = 0.0, squared = 0.0;
};

// Losses of a chunk and the gradients of its outputs.
static void chunk_losses(const TrainTask& task, const Buffers& buffers, const TargetBuffers& targets, float* work,
                         const int64_t* order, int64_t rows, Sums& sums) {
    const Network& network = *task.network;
    const om_ppo_batch& batch = *task.batch;
    const om_ppo_settings& settings = *task.settings;
    const Body& body = task.part == Part::critic ? network.critic : network.actor;
    const int64_t columns = network.continuous + network.branch_count, actor_outputs = network.continuous + network.logits;
    const double batch_size = static_cast<double>(settings.batch_size);
    if (task.part != Part::critic) {
        gather(batch.continuous, network.continuous, order, rows, network.continuous, targets.continuous);
        gather(batch.discrete, network.branch_count, order, rows, network.branch_count, targets.discrete);
        gather(batch.log_probs, columns, order, rows, columns, targets.log_probs);
        if (batch.allowed != nullptr)
            gather(batch.allowed, network.logits, order, rows, network.logits, targets.allowed);
        gather(batch.advantages, 1, order, rows, 1, targets.advantages);
        const PolicySettings policy = {network.continuous,
                                       network.branch_count,
                                       network.branch_sizes,
                                       settings.parameters + network.log_sigma,
                                       static_cast<float>(settings.epsilon),
                                       static_cast<float>(settings.beta),
                                       static_cast<float>(1.0 / (batch_size * static_cast<double>(columns))),
                                       static_cast<float>(settings.beta / batch_size)};
        for (int64_t first = 0; first < rows; first += PANEL) {
            const PolicyTarget target = {targets.continuous + first * network.continuous,
                                         targets.discrete + first * network.branch_count,
                                         targets.log_probs + first * columns,
                                         batch.allowed == nullptr ? nullptr : targets.allowed + first * network.logits,
                                         targets.advantages + first};
            sums.objective += policy_gradients(policy, target, buffers.outputs + first * body.outputs,
                                               rows - first < PANEL ? rows - first : PANEL,
                                               buffers.output_gradients + first * body.outputs,
                                               settings.gradient + network.log_sigma, work);
        }
    }
    if (task.part != Part::actor) {
        const int64_t before = task.part == Part::both ? actor_outputs : 0;
        gather(batch.returns, network.signals, order, rows, network.signals, targets.returns);
        gather(batch.values, network.signals, order, rows, network.signals, targets.values);
        for (int64_t first = 0; first < rows; first += PANEL) {
            const int64_t at = first * body.outputs + before * PANEL;
            sums.squared += value_gradients(
                network.signals, settings.value_clipping != 0, static_cast<float>(settings.epsilon),
                static_cast<float>(1.0 / (batch_size * static_cast<double>(network.signals))),
                targets.returns + first * network.signals, targets.values + first * network.signals,
                buffers.outputs + at, rows - first < PANEL ? rows - first : PANEL, buffers.output_gradients + at);
        }
    }
}

static void train(const TrainTask& task) {
    const Network& network = *task.network;
    const om_ppo_settings& settings = *task.settings;
    const Body& body = task.part == Part::critic ? network.critic : network.actor;
    Arena arena = {task.workspace};
    const Buffers buffers(arena, body, true);
    const TargetBuffers targets(arena, network);
    float* work = arena.take(network.logits * PANEL);
    const bool policy = task.part != Part::critic && network.continuous > 0;
    const double columns = static_cast<double>(network.continuous + network.branch_count);
    float* log_sigma_gradient = settings.gradient + network.log_sigma;
    for (int64_t minibatch = 0; minibatch < settings.minibatches; minibatch++) {
        const int64_t* order = task.order + minibatch * settings.batch_size;
        Sums sums;
        if (policy)  // the entropy grows by 1 with log sigma, and is a mean over the dimensions
            for (int64_t dimension = 0; dimension < network.continuous; dimension++)
                log_sigma_gradient[dimension] =
                    static_cast<float>(-settings.beta / static_cast<double>(network.continuous));
        for (int64_t first = 0; first < settings.batch_size; first += CHUNK_ROWS) {
            const int64_t rows = settings.batch_size - first < CHUNK_ROWS ? settings.batch_size - first : CHUNK_ROWS;
            gather(task.batch->inputs, network.inputs, order + first, rows, round_up(network.inputs, PANEL),
                   buffers.activations[0]);
            forward(body, settings.parameters, buffers, rows);
            chunk_losses(task, buffers, targets, work, order + first, rows, sums);
            backward(body, settings.parameters, buffers, rows, first > 0, settings.gradient);
        }
        if (settings.moment != nullptr) {
            const Adam adam(settings.learning_rate, settings.adam_steps + minibatch + 1);
            adam.apply(settings, body);
            if (policy) adam.apply(settings, network.log_sigma, network.continuous);
        }
        const double batch_size = static_cast<double>(settings.batch_size);
        if (task.part != Part::critic)
            task.policy_losses[minibatch] = static_cast<float>(-sums.objective / (batch_size * columns));
        if (task.part != Part::actor)
            task.value_losses[minibatch] =
                static_cast<float>(sums.squared / (batch_size * static_cast<double>(network.signals)));
    }
}

}  // namespace OM_NAMESPACE
