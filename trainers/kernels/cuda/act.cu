// Acting: what comes before, between and after the multiplications of matrices.
#include "policy.cuh"
#include "random.cuh"

namespace openmined {
namespace {

constexpr uint32_t NORMALS = 0, CHOICES = 1;  // streams of random numbers, see om_act

__global__ void normalize_kernel(int64_t rows, int64_t columns, const float* __restrict__ observations,
                                        const float* __restrict__ mean, const float* __restrict__ scale,
                                        float* __restrict__ inputs, int64_t stride) {
    for (int64_t at = first_element(); at < rows * columns; at += grid_step()) {
        const int64_t row = at / columns, column = at % columns;
        float value = observations[at];
        if (mean != nullptr) {
            value = (value - mean[column]) * scale[column];
            value = value < -5.0f ? -5.0f : value;
            value = value > 5.0f ? 5.0f : value;
        }
        inputs[row * stride + column] = value;
    }
}

__global__ void bias_swish_kernel(int64_t rows, int64_t columns, const float* __restrict__ bias,
                                         float* __restrict__ values, float* __restrict__ slopes) {
    for (int64_t at = first_element(); at < rows * columns; at += grid_step()) {
        const float x = values[at] + bias[at % columns];
        const float sigmoid = 1.0f / (1.0f + expf(-x));
        const float y = x * sigmoid;
        values[at] = y;
        if (slopes != nullptr) slopes[at] = sigmoid + y * (1.0f - sigmoid);
    }
}

// The first action whose cumulative probability exceeds `uniform`, or the most probable one.
__device__ int64_t choose(const Branch& branch, bool deterministic, float uniform) {
    int64_t best = 0;
    if (deterministic) {
        for (int64_t action = 1; action < branch.size; action++)
            if (branch.log_prob(action) > branch.log_prob(best)) best = action;
        return best;
    }
    float reached = 0.0f;
    for (int64_t action = 0; action < branch.size; action++) {
        const float share = Branch::probability(branch.log_prob(action));
        if (share > 0.0f) {
            best = action;  // the last possible one, should rounding leave the sum below the uniform number
            reached += share;
            if (uniform < reached) return action;
        }
    }
    return best;
}

// A thread for each agent.
__global__ void act_kernel(om_cuda_act_arguments a) {
    for (int64_t agent = first_element(); agent < a.agents; agent += grid_step()) {
        const float* outputs = a.outputs + agent * a.stride;
        float* log_probs = a.log_probs + agent * (a.continuous + a.branch_count);
        float gaussian = 0.0f, categorical = 0.0f;
        for (int64_t dimension = 0; dimension < a.continuous; dimension++) {
            const int64_t at = agent * a.continuous + dimension;
            const float log_sigma = a.log_sigma[dimension], sigma = expf(log_sigma);
            const float noise = a.deterministic != 0 ? 0.0f : normal_at(a.seed, a.call, NORMALS, at);
            const float action = outputs[dimension] + noise * sigma;
            const float low = action < -3.0f ? -3.0f : action;
            log_probs[dimension] = -(log_sigma + LOG_SQRT_TWO_PI) - 0.5f * noise * noise;
            a.continuous_actions[at] = action;
            a.continuous_for_player[at] = (low > 3.0f ? 3.0f : low) / 3.0f;
            gaussian += 0.5f * logf(17.079468445347132f * sigma * sigma + 1e-7f);  // 2 pi e; ML-Agents' guard
        }
        int64_t before = 0;
        for (int64_t index = 0; index < a.branch_count; index++) {
            const int64_t size = a.branch_sizes[index], at = agent * a.branch_count + index;
            const Branch branch(outputs + a.continuous + before,
                                a.allowed == nullptr ? nullptr : a.allowed + agent * a.logits + before, size);
            const bool deterministic = a.deterministic != 0;
            const float uniform = deterministic ? 0.0f : uniform_at(a.seed, a.call, CHOICES, at);
            const int64_t action = choose(branch, deterministic, uniform);
            log_probs[a.continuous + index] = branch.log_prob(action);
            a.discrete_actions[at] = action;
            categorical += branch.entropy();
            before += size;
        }
        const float dimensions = static_cast<float>(a.continuous > 0 ? a.continuous : 1);
        a.entropies[agent] = gaussian / dimensions + categorical;
    }
}

}  // namespace
}  // namespace openmined

using namespace openmined;

int32_t om_cuda_normalize(int64_t rows, int64_t columns, const float* observations, const float* mean,
                          const float* scale, float* inputs, int64_t stride, void* stream) {
    if (rows <= 0 || columns <= 0) return 0;
    OPENMINED_LAUNCH(normalize_kernel, blocks_for(rows * columns), BLOCK, 0, stream, rows, columns, observations, mean,
                     scale, inputs, stride);
    return launched();
}

int32_t om_cuda_bias_swish(int64_t rows, int64_t columns, const float* bias, float* values, float* slopes,
                           void* stream) {
    if (rows <= 0 || columns <= 0) return 0;
    OPENMINED_LAUNCH(bias_swish_kernel, blocks_for(rows * columns), BLOCK, 0, stream, rows, columns, bias, values,
                     slopes);
    return launched();
}

int32_t om_cuda_act(const om_cuda_act_arguments* arguments, void* stream) {
    const om_cuda_act_arguments a = *arguments;
    if (a.agents <= 0) return 0;
    OPENMINED_LAUNCH(act_kernel, blocks_for(a.agents), BLOCK, 0, stream, a);
    return launched();
}
