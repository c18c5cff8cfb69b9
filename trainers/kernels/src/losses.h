// PPO's losses and their gradients for one panel: PANEL rows of a batch, of which `columns` count.
#pragma once

#include "vector.h"

namespace OM_NAMESPACE {

constexpr float FORBIDDEN = -1e8f;
constexpr float LOG_SQRT_TWO_PI = 0.918938533204672742f;

// All ones in the lanes of vector `v` of a panel that count.
OM_INLINE Integers counting(int v, int64_t columns) {
    Integers lanes;
    OM_UNROLL
    for (int lane = 0; lane < LANES; lane++) lanes[lane] = v * LANES + lane;
    const Integers end = Integers{} + static_cast<int32_t>(columns);
    return lanes < end;
}

OM_INLINE Integers load_integers(const float* from) { return reinterpret_cast<Integers>(load(from)); }

// Log-probabilities of one branch from its logits [size][PANEL], in place is allowed; `allowed` [size][PANEL] is all
// ones or zeros, or NULL.
OM_INLINE void log_softmax(const float* logits, const float* allowed, int64_t size, float* log_probs) {
    for (int v = 0; v < 2; v++) {
        Vector greatest = broadcast(-INFINITY), total = broadcast(0.0f);
        for (int64_t action = 0; action < size; action++) {
            const int64_t at = action * PANEL + v * LANES;
            Vector logit = load(logits + at);
            if (allowed != nullptr) logit = load_integers(allowed + at) ? logit : broadcast(FORBIDDEN);
            store(log_probs + at, logit);
            greatest = maximum(greatest, logit);
        }
        for (int64_t action = 0; action < size; action++)
            total += exponential(load(log_probs + action * PANEL + v * LANES) - greatest);
        const Vector shift = greatest + logarithm(total);
        for (int64_t action = 0; action < size; action++) {
            const int64_t at = action * PANEL + v * LANES;
            store(log_probs + at, load(log_probs + at) - shift);
        }
    }
}

// exp(x), with 0 for the log-probability of a forbidden action: the exponential ends at a tiny number.
OM_INLINE Vector probability(Vector log_prob) {
    return log_prob < broadcast(-86.0f) ? broadcast(0.0f) : exponential(log_prob);
}

struct PolicySettings {
    int64_t continuous, branch_count;
    const int64_t* branch_sizes;
    const float* log_sigma;
    float epsilon, beta;
    float ratio_share;   // 1 / (batch size * (dimensions + branches))
    float entropy_share; // beta / batch size
};

// What the policy is held against, [rows][PANEL] each; whole numbers and truth values are kept as int32.
struct PolicyTarget {
    const float* continuous;  // [continuous]
    const float* discrete;    // [branches], int32
    const float* log_probs;   // [continuous + branches]
    const float* allowed;     // [logits], all ones or zeros, or NULL
    const float* advantages;  // [1]
};

// The clipped surrogate of one column: adds to `objective`, returns d loss / d log-probability.
OM_INLINE Vector surrogate_gradient(const PolicySettings& settings, Vector log_prob, Vector old_log_prob,
                                    Vector advantage, Integers counts, Vector& objective) {
    const Vector ratio = exponential(log_prob - old_log_prob);
    const Vector surrogate = ratio * advantage;
    const Vector near = minimum(maximum(ratio, broadcast(1.0f - settings.epsilon)), broadcast(1.0f + settings.epsilon));
    const Vector clipped = near * advantage;
    const Vector none = broadcast(0.0f);
    objective += counts ? minimum(surrogate, clipped) : none;
    return surrogate <= clipped ? surrogate * broadcast(-settings.ratio_share) : none;
}

// Outputs [continuous, logits][PANEL] to their gradients; adds to log sigma's gradient and returns the sum of the
// objective. `work` [logits][PANEL].
static double policy_gradients(const PolicySettings& settings, const PolicyTarget& target, const float* outputs,
                               int64_t columns, float* gradients, float* log_sigma_gradient, float* work) {
    Vector objective = broadcast(0.0f);
    for (int64_t dimension = 0; dimension < settings.continuous; dimension++) {
        const float log_sigma = settings.log_sigma[dimension];
        const Vector inverse_sigma = broadcast(expf(-log_sigma));
        const Vector constant = broadcast(-(log_sigma + LOG_SQRT_TWO_PI));
        Vector sigma_gradient = broadcast(0.0f);
        for (int v = 0; v < 2; v++) {
            const int64_t at = dimension * PANEL + v * LANES;
            const Integers counts = counting(v, columns);
            const Vector scaled = (load(target.continuous + at) - load(outputs + at)) * inverse_sigma;
            const Vector log_prob = constant - broadcast(0.5f) * scaled * scaled;
            const Vector weight = surrogate_gradient(settings, log_prob, load(target.log_probs + at),
                                                     load(target.advantages + v * LANES), counts, objective);
            const Vector weighted = weight * scaled;
            store(gradients + at, weighted * inverse_sigma);
            sigma_gradient += counts ? weighted * scaled - weight : broadcast(0.0f);
        }
        log_sigma_gradient[dimension] += sum(sigma_gradient);
    }
    const float* logits = outputs + settings.continuous * PANEL;
    const float* allowed = target.allowed;
    float* logit_gradients = gradients + settings.continuous * PANEL;
    for (int64_t branch = 0; branch < settings.branch_count; branch++) {
        const int64_t size = settings.branch_sizes[branch];
        log_softmax(logits, allowed, size, work);
        for (int v = 0; v < 2; v++) {
            const Integers choice = load_integers(target.discrete + branch * PANEL + v * LANES);
            Vector chosen = broadcast(0.0f), entropy = broadcast(0.0f);
            for (int64_t action = 0; action < size; action++) {
                const Vector log_prob = load(work + action * PANEL + v * LANES);
                chosen = choice == static_cast<int32_t>(action) ? log_prob : chosen;
                entropy -= probability(log_prob) * log_prob;
            }
            const int64_t column = (settings.continuous + branch) * PANEL + v * LANES;
            const Vector weight =
                surrogate_gradient(settings, chosen, load(target.log_probs + column),
                                   load(target.advantages + v * LANES), counting(v, columns), objective);
            for (int64_t action = 0; action < size; action++) {
                const int64_t at = action * PANEL + v * LANES;
                const Vector log_prob = load(work + at);
                const Vector push = (log_prob + entropy) * broadcast(settings.entropy_share) - weight;
                const Vector of_chosen = choice == static_cast<int32_t>(action) ? weight : broadcast(0.0f);
                store(logit_gradients + at, probability(log_prob) * push + of_chosen);
            }
        }
        logits += size * PANEL;
        logit_gradients += size * PANEL;
        if (allowed != nullptr) allowed += size * PANEL;
    }
    return sum(objective);
}

// Values [signals][PANEL] to their gradients; returns the sum of the squared errors. `share`: 1 / (batch * signals).
static double value_gradients(int64_t signals, bool clipping, float epsilon, float share, const float* returns,
                              const float* old_values, const float* values, int64_t columns, float* gradients) {
    Vector total = broadcast(0.0f);
    for (int64_t signal = 0; signal < signals; signal++) {
        for (int v = 0; v < 2; v++) {
            const int64_t at = signal * PANEL + v * LANES;
            const Vector value = load(values + at), wanted = load(returns + at), none = broadcast(0.0f);
            Vector error = value - wanted;
            Vector squared = error * error;
            if (clipping) {
                const Vector old = load(old_values + at);
                const Vector change = value - old, most = broadcast(epsilon);
                const Vector moved = old + minimum(maximum(change, -most), most) - wanted;
                const Vector squared_moved = moved * moved;
                // Both sides are the same for a value that moved by less: rounding must not take its gradient.
                const Integers counts = (squared >= squared_moved) | ((change <= most) & (change >= -most));
                error = counts ? error : none;
                squared = maximum(squared, squared_moved);
            }
            total += counting(v, columns) ? squared : none;
            store(gradients + at, error * broadcast(share));
        }
    }
    return sum(total);
}

}  // namespace OM_NAMESPACE
