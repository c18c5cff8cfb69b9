// The categorical part of a policy, as acting and learning both read it.
#pragma once

#include "launch.cuh"

namespace openmined {

constexpr float FORBIDDEN = -1e8f, LOG_SQRT_TWO_PI = 0.918938533204672742f;

// One branch of one agent: log-probabilities of `size` actions from their logits. Nothing is stored, because a thread
// has no room for any number of actions; each is worked out anew where it is needed.
struct Branch {
    const float* logits;
    const uint8_t* allowed;  // 0: forbidden; NULL allows everything
    int64_t size;
    float shift;  // logarithm of the sum of the exponentials

    __device__ Branch(const float* logits, const uint8_t* allowed, int64_t size)
        : logits(logits), allowed(allowed), size(size) {
        float greatest = logit(0), total = 0.0f;
        for (int64_t action = 1; action < size; action++) greatest = fmaxf(greatest, logit(action));
        for (int64_t action = 0; action < size; action++) total += expf(logit(action) - greatest);
        shift = greatest + logf(total);
    }

    __device__ float logit(int64_t action) const {
        return allowed == nullptr || allowed[action] != 0 ? logits[action] : FORBIDDEN;
    }

    __device__ float log_prob(int64_t action) const { return logit(action) - shift; }

    // exp(log_prob), 0 for a forbidden action; the bound is that of the kernels on the CPU.
    __device__ static float probability(float log_prob) { return log_prob < -86.0f ? 0.0f : expf(log_prob); }

    __device__ float entropy() const {
        float sum = 0.0f;
        for (int64_t action = 0; action < size; action++) sum -= probability(log_prob(action)) * log_prob(action);
        return sum;
    }
};

}  // namespace openmined
