// What the networks put out for agents, and the actions drawn from it.
#pragma once

#include "body.h"
#include "losses.h"

namespace OM_NAMESPACE {

using openmined::ActTask;
using openmined::Network;

constexpr int64_t FEW_AGENTS = 3;  // up to so many go one by one: a panel would be mostly empty

// ROWS outputs of a layer for one agent.
template <int ROWS>
OM_INLINE void dense_rows(const float* weight, const float* bias, int64_t inner, const float* inputs, float* outputs,
                          int64_t output_step) {
    const int64_t whole = inner / LANES * LANES;
    Vector sums[ROWS][2];
    OM_UNROLL
    for (int row = 0; row < ROWS; row++) sums[row][0] = sums[row][1] = broadcast(0.0f);
    int64_t k = 0;
    for (; k + 2 * LANES <= whole; k += 2 * LANES) {
        const Vector first = load(inputs + k), second = load(inputs + k + LANES);
        OM_UNROLL
        for (int row = 0; row < ROWS; row++) {
            sums[row][0] += load(weight + row * inner + k) * first;
            sums[row][1] += load(weight + row * inner + k + LANES) * second;
        }
    }
    if (k < whole) {
        const Vector first = load(inputs + k);
        OM_UNROLL
        for (int row = 0; row < ROWS; row++) sums[row][0] += load(weight + row * inner + k) * first;
    }
    OM_UNROLL
    for (int row = 0; row < ROWS; row++) {
        float total = sum(sums[row][0] + sums[row][1]);
        for (k = whole; k < inner; k++) total += weight[row * inner + k] * inputs[k];
        outputs[row * output_step] = total + bias[row];
    }
}

// One agent through one layer, four outputs at a time.
static void dense_one(const Dense& dense, const float* parameters, const float* inputs, float* outputs,
                      int64_t output_step) {
    const float* weight = parameters + dense.weight;
    const float* bias = parameters + dense.bias;
    int64_t at = 0;
    for (; at + 4 <= dense.outputs; at += 4)
        dense_rows<4>(weight + at * dense.inputs, bias + at, dense.inputs, inputs, outputs + at * output_step,
                      output_step);
    for (; at < dense.outputs; at++)
        dense_rows<1>(weight + at * dense.inputs, bias + at, dense.inputs, inputs, outputs + at * output_step,
                      output_step);
}

// The same as `forward`, for one agent whose inputs are [inputs]; writes its column of the outputs' panel.
static void forward_one(const Body& body, const float* parameters, const Buffers& buffers, const float* inputs,
                        float* spare, float* outputs) {
    float* turns[2] = {spare, buffers.activations[1]};
    for (int64_t index = 0; index < body.layer_count; index++) {
        float* to = turns[index % 2];
        const int64_t width = body.layers[index].outputs;
        dense_one(body.layers[index], parameters, inputs, to, 1);
        for (int64_t at = 0; at < width; at += LANES) {  // the buffer is wider than the layer
            const Vector x = load(to + at);
            store(to + at, x / (broadcast(1.0f) + exponential(-x)));
        }
        inputs = to;
    }
    for (int64_t index = 0; index < body.head_count; index++) {
        dense_one(body.heads[index], parameters, inputs, outputs, PANEL);
        outputs += body.heads[index].outputs * PANEL;
    }
}

// Inputs of agents [first, first + rows) into panels (`step` PANEL) or, for one agent, side by side (`step` 1).
static void prepare(const Network& network, const om_act_arguments& arguments, int64_t first, int64_t rows,
                    int64_t height, int64_t step, float* to) {
    int64_t feature = 0;
    for (int64_t index = 0; index < network.observation_count; index++) {
        const int64_t size = network.observation_sizes[index];
        const float* mean = arguments.means == nullptr ? nullptr : arguments.means[index];
        const float* scale = arguments.means == nullptr ? nullptr : arguments.scales[index];
        for (int64_t row = 0; row < rows; row++) {
            const float* from = arguments.observations[index] + (first + row) * size;
            float* column = to + row / PANEL * PANEL * height + row % PANEL + feature * step;
            for (int64_t at = 0; at < size; at++) {
                float value = from[at];
                if (mean != nullptr) {
                    value = (value - mean[at]) * scale[at];
                    value = value < -5.0f ? -5.0f : value;
                    value = value > 5.0f ? 5.0f : value;
                }
                column[at * step] = value;
            }
        }
        feature += size;
    }
}

static void sample_continuous(const ActTask& task, const float* outputs, int64_t stride, int64_t first, int64_t rows) {
    const Network& network = *task.network;
    const om_act_arguments& to = *task.arguments;
    const int64_t size = network.continuous, columns = size + network.branch_count;
    for (int64_t dimension = 0; dimension < size; dimension++) {
        const float log_sigma = to.parameters[network.log_sigma + dimension];
        const float sigma = expf(log_sigma), constant = -(log_sigma + LOG_SQRT_TWO_PI);
        for (int64_t row = 0; row < rows; row++) {
            const int64_t agent = first + row;
            const float mean = outputs[row / PANEL * PANEL * stride + row % PANEL + dimension * PANEL];
            const float noise = to.deterministic != 0 ? 0.0f : task.normals[agent * size + dimension];
            const float action = mean + noise * sigma;
            const float low = action < -3.0f ? -3.0f : action;
            to.log_probs[agent * columns + dimension] = constant - 0.5f * noise * noise;
            if (to.continuous != nullptr) to.continuous[agent * size + dimension] = action;
            if (to.continuous_for_player != nullptr)
                to.continuous_for_player[agent * size + dimension] = (low > 3.0f ? 3.0f : low) / 3.0f;
        }
    }
}

// The action of one agent in one branch: `log_probs` and `probabilities` [size][PANEL], its lane of them.
OM_INLINE int64_t choose(const float* log_probs, const float* probabilities, int64_t size, bool deterministic,
                         float uniform) {
    int64_t best = 0;
    if (deterministic) {
        for (int64_t action = 1; action < size; action++)
            if (log_probs[action * PANEL] > log_probs[best * PANEL]) best = action;
        return best;
    }
    float reached = 0.0f;
    for (int64_t action = 0; action < size; action++) {
        const float share = probabilities[action * PANEL];
        if (share > 0.0f) {
            best = action;  // the last possible one, should rounding leave the sum below the uniform number
            reached += share;
            if (uniform < reached) return action;
        }
    }
    return best;
}

static void sample_discrete(ActTask& task, const float* outputs, int64_t stride, int64_t first, int64_t rows,
                            float* allowed, float* work) {
    const Network& network = *task.network;
    const om_act_arguments& to = *task.arguments;
    const int64_t columns = network.continuous + network.branch_count;
    for (int64_t begin = 0; begin < rows; begin += PANEL) {
        const int64_t count = rows - begin < PANEL ? rows - begin : PANEL;
        const float* logits = outputs + begin * stride + network.continuous * PANEL;
        int64_t before = 0;
        for (int64_t branch = 0; branch < network.branch_count; branch++) {
            const int64_t size = network.branch_sizes[branch];
            if (to.allowed != nullptr) {
                for (int64_t lane = 0; lane < count; lane++)
                    for (int64_t action = 0; action < size; action++) {
                        const uint8_t* row = to.allowed + (first + begin + lane) * network.logits;
                        const int32_t word = row[before + action] != 0 ? -1 : 0;
                        memcpy(allowed + action * PANEL + lane, &word, sizeof word);
                    }
            }
            log_softmax(logits + before * PANEL, to.allowed == nullptr ? nullptr : allowed, size, work);
            float* probabilities = work + size * PANEL;
            for (int v = 0; v < 2; v++) {
                Vector entropy = broadcast(0.0f);
                for (int64_t at = v * LANES; at < size * PANEL; at += PANEL) {
                    const Vector share = probability(load(work + at));
                    store(probabilities + at, share);
                    entropy -= share * load(work + at);
                }
                task.entropy += sum(counting(v, count) ? entropy : broadcast(0.0f));
            }
            for (int64_t lane = 0; lane < count; lane++) {
                const int64_t agent = first + begin + lane, at = agent * network.branch_count + branch;
                const float uniform = to.deterministic != 0 ? 0.0f : task.uniforms[at];
                const int64_t action = choose(work + lane, probabilities + lane, size, to.deterministic != 0, uniform);
                to.log_probs[agent * columns + network.continuous + branch] = work[action * PANEL + lane];
                if (to.discrete != nullptr) to.discrete[at] = action;
                if (to.discrete_for_player != nullptr) to.discrete_for_player[at] = static_cast<int32_t>(action);
            }
            before += size;
        }
    }
}

static void write_values(const Network& network, const float* outputs, int64_t stride, int64_t first, int64_t rows,
                         float* values) {
    for (int64_t row = 0; row < rows; row++)
        for (int64_t signal = 0; signal < network.signals; signal++)
            values[(first + row) * network.signals + signal] =
                outputs[row / PANEL * PANEL * stride + row % PANEL + signal * PANEL];
}

// What acting needs beside the networks' own buffers.
struct ActBuffers {
    float *allowed, *work;  // [logits][PANEL], and twice that
    float *line, *spare;    // inputs of one agent, and every other layer of it
    ActBuffers(Arena& arena, const Network& network) {
        int64_t widest = network.inputs;
        for (int64_t index = 0; index < network.actor.layer_count; index++)
            if (network.actor.layers[index].outputs > widest) widest = network.actor.layers[index].outputs;
        allowed = arena.take(network.logits * PANEL);
        work = arena.take(2 * network.logits * PANEL);
        line = arena.take(round_up(widest, PANEL));
        spare = arena.take(round_up(widest, PANEL));
    }
};

static int64_t act_workspace(const Network& network) {
    Arena arena = {nullptr};
    const Buffers actor(arena, network.actor, false);
    const Buffers critic(arena, network.shared ? network.actor : network.critic, false);
    const ActBuffers more(arena, network);
    (void)actor;
    (void)critic;
    (void)more;
    return arena.used;
}

static void act(ActTask& task) {
    const Network& network = *task.network;
    const om_act_arguments& arguments = *task.arguments;
    const float* parameters = arguments.parameters;
    Arena arena = {task.workspace};
    const Buffers actor(arena, network.actor, false);
    const Buffers critic = network.shared ? actor : Buffers(arena, network.critic, false);
    const ActBuffers more(arena, network);
    const bool acting = arguments.log_probs != nullptr, valuing = arguments.values != nullptr;
    const bool actor_runs = acting || network.shared, critic_runs = valuing && !network.shared;
    const bool few = task.end - task.first <= FEW_AGENTS;
    const int64_t height = round_up(network.inputs, PANEL);
    const int64_t value_at = network.shared ? (network.continuous + network.logits) * PANEL : 0;
    task.entropy = 0.0;
    for (int64_t first = task.first; first < task.end; first += CHUNK_ROWS) {
        const int64_t rows = task.end - first < CHUNK_ROWS ? task.end - first : CHUNK_ROWS;
        if (few) {
            for (int64_t row = 0; row < rows; row++) {
                prepare(network, arguments, first + row, 1, 0, 1, more.line);
                if (actor_runs)
                    forward_one(network.actor, parameters, actor, more.line, more.spare, actor.outputs + row);
                if (critic_runs)
                    forward_one(network.critic, parameters, critic, more.line, more.spare, critic.outputs + row);
            }
        } else {
            float* inputs = actor.activations[0];
            prepare(network, arguments, first, rows, height, PANEL, inputs);
            if (critic_runs)  // the layers of the actor write over them
                memcpy(critic.activations[0], inputs, static_cast<size_t>(round_up(rows, PANEL) * height) * sizeof(float));
            if (actor_runs) forward(network.actor, parameters, actor, rows);
            if (critic_runs) forward(network.critic, parameters, critic, rows);
        }
        if (acting) {
            sample_continuous(task, actor.outputs, network.actor.outputs, first, rows);
            sample_discrete(task, actor.outputs, network.actor.outputs, first, rows, more.allowed, more.work);
        }
        if (valuing)
            write_values(network, critic.outputs + value_at,
                         network.shared ? network.actor.outputs : network.critic.outputs, first, rows,
                         arguments.values);
    }
}

}  // namespace OM_NAMESPACE
