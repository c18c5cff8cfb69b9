// What the library knows of an actor-critic, and the functions that exist once for each instruction set.
//
// Plain data only: this is included by code compiled for different instruction sets.
#pragma once

#include <stdint.h>

#include "openmined.h"

namespace openmined {

constexpr int MOST_LAYERS = 64;
constexpr int64_t CHUNK_ROWS = 64;  // batch rows between input and weight gradients: they stay in the nearest cache

// One linear layer; where its weight [outputs, inputs] and bias [outputs] lie among the parameters.
struct Dense {
    int64_t inputs, outputs, weight, bias;
};

// A stack of linear layers with swish, and heads without that read its last layer.
struct Body {
    int64_t layer_count, head_count, outputs;  // outputs: of all heads together
    const Dense* layers;
    const Dense* heads;
};

struct Network {
    int64_t observation_count, inputs, continuous, branch_count, signals, logits;  // logits: of all branches together
    const int64_t* observation_sizes;
    const int64_t* branch_sizes;
    int64_t log_sigma;  // where it lies among the parameters
    bool shared;        // the values are the last outputs of the actor
    Body actor, critic;
};

enum class Part { actor, critic, both };  // `both`: a network with a shared critic

// All minibatches of an update for one part of a network, in one thread.
struct TrainTask {
    const Network* network;
    Part part;
    const om_ppo_batch* batch;
    const om_ppo_settings* settings;
    const int64_t* order;
    float* policy_losses;
    float* value_losses;
    float* workspace;
};

// What the networks put out for some agents or steps.
struct ActTask {
    const Network* network;
    const om_act_arguments* arguments;
    const float* normals;   // [agents, continuous]
    const float* uniforms;  // [agents, branches]
    int64_t first, end;     // agents of this task
    double entropy;         // of the branches, summed over its agents
    float* workspace;
};

struct Kernels {
    const char* name;
    int lanes;
    int64_t (*train_workspace)(const Network&, Part);  // floats
    void (*train)(const TrainTask&);
    int64_t (*act_workspace)(const Network&);
    void (*act)(ActTask&);
    int64_t (*multiply_workspace)(int64_t rows, int64_t inner, int64_t columns);
    void (*multiply)(int64_t rows, int64_t inner, int64_t columns, const float* left, const float* right, float* out,
                     float* workspace);
};

extern const Kernels kernels_portable;
#if defined(__x86_64__) || defined(_M_X64)
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;
#endif

}  // namespace openmined
