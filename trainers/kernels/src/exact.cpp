// What has to give the same bits as its Python counterpart: random numbers and advantages. Compiled without fused
// multiply-add for any processor; every operation rounds as IEEE 754 says.
#include <cmath>
#include <cstring>
#include <new>
#include <vector>

#include "exact_math.h"
#include "internal.h"

namespace openmined {
namespace {

struct Discount {
    float gamma, decay;
    int64_t step;  // from one number of a signal to its next
};

// One trajectory and signal on its way from the end: pointers to its first step, and what follows the next one.
struct Trajectory {
    const float *rewards, *values;
    float *advantages, *returns;
    int64_t left;
    float next_value, advantage;

    void back(const Discount& discount) {
        left--;
        const int64_t at = left * discount.step;
        const float delta = rewards[at] + discount.gamma * next_value - values[at];
        advantage = delta + discount.decay * advantage;
        next_value = values[at];
        advantages[at] = advantage;
        returns[at] = advantage + next_value;
    }
};

// Every step waits for the one after it, so four trajectories go side by side as far as the shortest of them.
void four_trajectories(Trajectory* four, int64_t count, const Discount& discount) {
    if (count == 4) {
        Trajectory a = four[0], b = four[1], c = four[2], d = four[3];
        int64_t common = a.left < b.left ? a.left : b.left;
        common = common < c.left ? common : c.left;
        common = common < d.left ? common : d.left;
        for (int64_t index = 0; index < common; index++) {
            a.back(discount);
            b.back(discount);
            c.back(discount);
            d.back(discount);
        }
        four[0] = a;
        four[1] = b;
        four[2] = c;
        four[3] = d;
    }
    for (int64_t index = 0; index < count; index++)
        while (four[index].left > 0) four[index].back(discount);
}

}  // namespace

void random_normals(uint64_t seed, uint64_t call, uint32_t stream, int64_t count, float* normals) {
    for (int64_t at = 0; at < count; at += 4) {
        const PhiloxWords words = philox(seed, call, stream, at / 4);
        const NormalPair pairs[2] = {normals_of(words.word[0], words.word[1]), normals_of(words.word[2], words.word[3])};
        std::memcpy(normals + at, pairs, sizeof(float) * static_cast<size_t>(count - at < 4 ? count - at : 4));
    }
}

void random_uniforms(uint64_t seed, uint64_t call, uint32_t stream, int64_t count, float* uniforms) {
    for (int64_t at = 0; at < count; at += 4) {
        const PhiloxWords words = philox(seed, call, stream, at / 4);
        for (int64_t index = 0; index < 4 && at + index < count; index++)
            uniforms[at + index] = uniform_of(words.word[index]);
    }
}

}  // namespace openmined

using namespace openmined;

int32_t om_philox(const uint32_t* counter, const uint32_t* key, uint32_t* words) {
    if (counter == nullptr || key == nullptr || words == nullptr) return OM_NULL_POINTER;
    const PhiloxWords made = philox(key[0] | uint64_t{key[1]} << 32, counter[2] | uint64_t{counter[3]} << 32, counter[1],
                                    static_cast<int64_t>(counter[0]));
    std::memcpy(words, made.word, sizeof made.word);
    return OM_OK;
}

int32_t om_random_words(uint64_t seed, uint64_t call, uint32_t stream, int64_t count, uint32_t* words) {
    if (count < 0) return OM_BAD_SIZE;
    if (words == nullptr && count > 0) return OM_NULL_POINTER;
    for (int64_t at = 0; at < count; at += 4) {
        const PhiloxWords four = philox(seed, call, stream, at / 4);
        std::memcpy(words + at, four.word, sizeof(uint32_t) * static_cast<size_t>(count - at < 4 ? count - at : 4));
    }
    return OM_OK;
}

int32_t om_random_normals(uint64_t seed, uint64_t call, uint32_t stream, int64_t count, float* normals) {
    if (count < 0) return OM_BAD_SIZE;
    if (normals == nullptr && count > 0) return OM_NULL_POINTER;
    random_normals(seed, call, stream, count, normals);
    return OM_OK;
}

int32_t om_random_uniforms(uint64_t seed, uint64_t call, uint32_t stream, int64_t count, float* uniforms) {
    if (count < 0) return OM_BAD_SIZE;
    if (uniforms == nullptr && count > 0) return OM_NULL_POINTER;
    random_uniforms(seed, call, stream, count, uniforms);
    return OM_OK;
}

int32_t om_gae(int64_t steps, int64_t trajectories, int64_t signals, const float* rewards, const float* values,
               const int64_t* lengths, const float* next_values, const double* gammas, double lambda,
               float* advantages, float* returns) {
    if (steps < 0 || trajectories < 0 || signals < 1) return OM_BAD_SIZE;
    if (gammas == nullptr) return OM_NULL_POINTER;
    if (trajectories > 0 && (lengths == nullptr || next_values == nullptr)) return OM_NULL_POINTER;
    if (steps > 0 && (rewards == nullptr || values == nullptr || advantages == nullptr || returns == nullptr))
        return OM_NULL_POINTER;
    int64_t left = steps;
    for (int64_t index = 0; index < trajectories; index++) {
        if (lengths[index] < 0 || lengths[index] > left) return OM_BAD_SIZE;
        left -= lengths[index];
    }
    if (left != 0) return OM_BAD_SIZE;
    for (int64_t signal = 0; signal < signals; signal++) {
        const Discount discount = {static_cast<float>(gammas[signal]), static_cast<float>(gammas[signal] * lambda),
                                   signals};
        int64_t first = signal;
        Trajectory four[4];
        int64_t waiting = 0;
        for (int64_t index = 0; index < trajectories; index++) {
            four[waiting++] = {rewards + first,  values + first, advantages + first,
                               returns + first,  lengths[index], next_values[index * signals + signal],
                               0.0f};
            first += lengths[index] * signals;
            if (waiting == 4 || index == trajectories - 1) {
                four_trajectories(four, waiting, discount);
                waiting = 0;
            }
        }
    }
    return OM_OK;
}
