// A PPO update: what comes before, between and after the multiplications of matrices.
#include "policy.cuh"

namespace openmined {
namespace {

__global__ void gather_rows_kernel(int64_t rows, int64_t columns, const float* __restrict__ from,
                                          const int64_t* __restrict__ order, float* __restrict__ to) {
    for (int64_t at = first_element(); at < rows * columns; at += grid_step())
        to[at] = from[order[at / columns] * columns + at % columns];
}

struct Scales {
    float epsilon;
    float ratio_share;    // 1 / (rows * (dimensions + branches))
    float entropy_share;  // beta / rows
    float sigma_share;    // beta / (rows * dimensions): the entropy grows by 1 with log sigma, a mean over dimensions
    float value_share;    // 1 / (rows * signals)
};

// The clipped surrogate of one column: adds to `objective`, returns d loss / d log-probability.
__device__ float surrogate_gradient(const Scales& scales, float log_prob, float old_log_prob, float advantage,
                                    float& objective) {
    const float ratio = expf(log_prob - old_log_prob);
    const float surrogate = ratio * advantage;
    const float near = fminf(fmaxf(ratio, 1.0f - scales.epsilon), 1.0f + scales.epsilon);
    const float clipped = near * advantage;
    objective += fminf(surrogate, clipped);
    return surrogate <= clipped ? -surrogate * scales.ratio_share : 0.0f;
}

__device__ float value_gradient(const om_cuda_ppo_arguments& a, const Scales& scales, float value, float wanted,
                                float old, float& squared_sum) {
    float error = value - wanted, squared = error * error;
    if (a.value_clipping != 0) {
        const float change = value - old, most = scales.epsilon;
        const float moved = old + fminf(fmaxf(change, -most), most) - wanted;
        const float squared_moved = moved * moved;
        // Both sides are the same for a value that moved by less: rounding must not take its gradient.
        error = squared >= squared_moved || fabsf(change) <= most ? error : 0.0f;
        squared = fmaxf(squared, squared_moved);
    }
    squared_sum += squared;
    return error * scales.value_share;
}

// A thread for each row: the same arithmetic as trainers/losses.py.
__global__ void ppo_losses_kernel(om_cuda_ppo_arguments a, Scales scales) {
    const int64_t heads = a.continuous + a.logits + a.signals, columns = a.continuous + a.branch_count;
    for (int64_t row = first_element(); row < a.rows; row += grid_step()) {
        const int64_t step = a.order[row];
        const float* outputs = a.outputs + row * heads;
        const float* log_probs = a.log_probs + step * columns;
        float* gradients = a.gradients + row * (heads + a.continuous);
        float* sigma_gradients = gradients + heads;
        const float advantage = a.advantages[step];
        float objective = 0.0f, squared = 0.0f;
        for (int64_t dimension = 0; dimension < a.continuous; dimension++) {
            const float log_sigma = a.log_sigma[dimension], inverse_sigma = expf(-log_sigma);
            const float action = a.continuous_actions[step * a.continuous + dimension];
            const float scaled = (action - outputs[dimension]) * inverse_sigma;
            const float log_prob = -(log_sigma + LOG_SQRT_TWO_PI) - 0.5f * scaled * scaled;
            const float weight = surrogate_gradient(scales, log_prob, log_probs[dimension], advantage, objective);
            gradients[dimension] = weight * scaled * inverse_sigma;
            sigma_gradients[dimension] = weight * scaled * scaled - weight - scales.sigma_share;
        }
        int64_t before = 0;
        for (int64_t index = 0; index < a.branch_count; index++) {
            const int64_t size = a.branch_sizes[index], choice = a.discrete_actions[step * a.branch_count + index];
            const Branch branch(outputs + a.continuous + before,
                                a.allowed == nullptr ? nullptr : a.allowed + step * a.logits + before, size);
            const float entropy = branch.entropy();
            const float weight = surrogate_gradient(scales, branch.log_prob(choice), log_probs[a.continuous + index],
                                                    advantage, objective);
            for (int64_t action = 0; action < size; action++) {
                const float log_prob = branch.log_prob(action);
                const float push = (log_prob + entropy) * scales.entropy_share - weight;
                gradients[a.continuous + before + action] =
                    Branch::probability(log_prob) * push + (action == choice ? weight : 0.0f);
            }
            before += size;
        }
        for (int64_t signal = 0; signal < a.signals; signal++) {
            const int64_t at = step * a.signals + signal, column = a.continuous + a.logits + signal;
            gradients[column] = value_gradient(a, scales, outputs[column], a.returns[at], a.values[at], squared);
        }
        a.losses[2 * row] = -objective * scales.ratio_share;
        a.losses[2 * row + 1] = squared * scales.value_share;
    }
}

constexpr int LINES = 16;  // of a block: each adds up every 16th row

// The sums of WARP columns, which `value(row, column)` gives the numbers of, in the threads of the first line.
template <typename Value>
__device__ static __forceinline__ float sum_columns(int64_t rows, int64_t columns, Value value) {
    __shared__ float lines[LINES][WARP + 1];
    const int64_t column = static_cast<int64_t>(blockIdx.x) * WARP + threadIdx.x;
    float sum = 0.0f;
    if (column < columns)
        for (int64_t row = threadIdx.y; row < rows; row += LINES) sum += value(row, column);
    lines[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0) return 0.0f;
    for (int line = 1; line < LINES; line++) sum += lines[line][threadIdx.x];
    return sum;
}

__global__ void column_sums_kernel(int64_t rows, int64_t columns, const float* __restrict__ matrix,
                                          int64_t stride, const int64_t* __restrict__ places,
                                          float* __restrict__ result) {
    const float sum =
        sum_columns(rows, columns, [=](int64_t row, int64_t column) { return matrix[row * stride + column]; });
    const int64_t column = static_cast<int64_t>(blockIdx.x) * WARP + threadIdx.x;
    if (threadIdx.y == 0 && column < columns) result[places == nullptr ? column : places[column]] = sum;
}

__global__ void swish_backward_kernel(int64_t rows, int64_t columns, const float* __restrict__ slopes,
                                             float* __restrict__ gradients, float* __restrict__ bias_gradient) {
    const float sum = sum_columns(rows, columns, [=](int64_t row, int64_t column) {
        return gradients[row * columns + column] *= slopes[row * columns + column];
    });
    const int64_t column = static_cast<int64_t>(blockIdx.x) * WARP + threadIdx.x;
    if (threadIdx.y == 0 && column < columns) bias_gradient[column] = sum;
}

dim3 column_blocks(int64_t columns) { return dim3(static_cast<unsigned>((columns + WARP - 1) / WARP)); }

}  // namespace
}  // namespace openmined

using namespace openmined;

int32_t om_cuda_gather_rows(int64_t rows, int64_t columns, const float* from, const int64_t* order, float* to,
                            void* stream) {
    if (rows <= 0 || columns <= 0) return 0;
    OPENMINED_LAUNCH(gather_rows_kernel, blocks_for(rows * columns), BLOCK, 0, stream, rows, columns, from, order, to);
    return launched();
}

int32_t om_cuda_ppo_losses(const om_cuda_ppo_arguments* arguments, void* stream) {
    const om_cuda_ppo_arguments a = *arguments;
    if (a.rows <= 0) return 0;
    const double rows = static_cast<double>(a.rows), dimensions = a.continuous > 0 ? static_cast<double>(a.continuous) : 1.0;
    const Scales scales = {static_cast<float>(a.epsilon),
                           static_cast<float>(1.0 / (rows * static_cast<double>(a.continuous + a.branch_count))),
                           static_cast<float>(a.beta / rows), static_cast<float>(a.beta / (rows * dimensions)),
                           static_cast<float>(1.0 / (rows * static_cast<double>(a.signals)))};
    OPENMINED_LAUNCH(ppo_losses_kernel, blocks_for(a.rows), BLOCK, 0, stream, a, scales);
    return launched();
}

int32_t om_cuda_column_sums(int64_t rows, int64_t columns, const float* matrix, int64_t stride, const int64_t* places,
                            float* result, void* stream) {
    if (columns <= 0) return 0;
    OPENMINED_LAUNCH(column_sums_kernel, column_blocks(columns), dim3(WARP, LINES), 0, stream, rows, columns, matrix,
                     stride, places, result);
    return launched();
}

int32_t om_cuda_swish_backward(int64_t rows, int64_t columns, const float* slopes, float* gradients,
                               float* bias_gradient, void* stream) {
    if (columns <= 0) return 0;
    OPENMINED_LAUNCH(swish_backward_kernel, column_blocks(columns), dim3(WARP, LINES), 0, stream, rows, columns, slopes,
                     gradients, bias_gradient);
    return launched();
}
