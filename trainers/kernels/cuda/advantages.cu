// Generalised advantage estimation of ragged trajectories, the same bits as on the CPU.
#include "launch.cuh"

namespace openmined {
namespace {

// A block for each trajectory, which it goes through backwards in tiles: all threads fetch and write, the first one
// does the sum in which each step waits for the one after it.
__global__ void gae_kernel(int64_t signals, int64_t signal, const float* __restrict__ rewards,
                                  const float* __restrict__ values, const int64_t* __restrict__ starts,
                                  const float* __restrict__ next_values, float gamma, float decay,
                                  float* __restrict__ advantages, float* __restrict__ returns) {
    __shared__ float tile[BLOCK];  // what a step adds to the advantage, then the advantage
    const int64_t trajectory = blockIdx.x, begin = starts[trajectory], end = starts[trajectory + 1];
    float advantage = 0.0f;
    for (int64_t stop = end; stop > begin; stop -= BLOCK) {
        const int64_t first = stop - BLOCK > begin ? stop - BLOCK : begin;
        const int count = static_cast<int>(stop - first), mine = static_cast<int>(threadIdx.x);
        const int64_t at = (first + mine) * signals + signal;
        if (mine < count) {
            const bool last = first + mine == end - 1;
            const float next_value = last ? next_values[trajectory * signals + signal] : values[at + signals];
            tile[mine] = rewards[at] + gamma * next_value - values[at];
        }
        __syncthreads();
        if (mine == 0) {
            for (int index = count - 1; index >= 0; index--) {
                const bool last = first + index == end - 1;
                advantage = last ? tile[index] : tile[index] + decay * advantage;
                tile[index] = advantage;
            }
        }
        __syncthreads();
        if (mine < count) {
            advantages[at] = tile[mine];
            returns[at] = tile[mine] + values[at];
        }
    }
}

}  // namespace
}  // namespace openmined

using namespace openmined;

int32_t om_cuda_gae(int64_t trajectories, int64_t signals, const float* rewards, const float* values,
                    const int64_t* starts, const float* next_values, const double* gammas, double lambda,
                    float* advantages, float* returns, void* stream) {
    for (int64_t signal = 0; signal < signals && trajectories > 0; signal++) {
        const float gamma = static_cast<float>(gammas[signal]), decay = static_cast<float>(gammas[signal] * lambda);
        OPENMINED_LAUNCH(gae_kernel, dim3(static_cast<unsigned>(trajectories)), BLOCK, 0, stream, signals, signal,
                         rewards, values, starts, next_values, gamma, decay, advantages, returns);
        const int32_t code = launched();
        if (code != 0) return code;
    }
    return 0;
}
