// What has to give the same bits as its Python counterpart: random numbers and advantages. Compiled without fused
// multiply-add for any processor; every operation rounds as IEEE 754 says.
#include <cmath>
#include <cstring>
#include <new>
#include <vector>

#include "internal.h"

namespace openmined {
namespace {

// Philox4x32-10 (Salmon et al. 2011).
void philox(const uint32_t counter[4], const uint32_t key[2], uint32_t words[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        const uint64_t first = uint64_t{0xD2511F53u} * c0, second = uint64_t{0xCD9E8D57u} * c2;
        c0 = static_cast<uint32_t>(second >> 32) ^ c1 ^ k0;
        c1 = static_cast<uint32_t>(second);
        c2 = static_cast<uint32_t>(first >> 32) ^ c3 ^ k1;
        c3 = static_cast<uint32_t>(first);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    words[0] = c0;
    words[1] = c1;
    words[2] = c2;
    words[3] = c3;
}

void block(uint64_t seed, uint64_t call, uint32_t stream, int64_t index, uint32_t words[4]) {
    const uint32_t key[2] = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
    const uint32_t counter[4] = {static_cast<uint32_t>(index), stream, static_cast<uint32_t>(call),
                                 static_cast<uint32_t>(call >> 32)};
    philox(counter, key, words);
}

float uniform(uint32_t word) {  // the middle of one of 2^23 equal parts of (0, 1)
    return (static_cast<float>(word >> 9) + 0.5f) * 0x1p-23f;
}

// ln x of normal x in (0, 1). Cephes' logf.
float logarithm(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    float e = static_cast<float>(static_cast<int32_t>(bits >> 23) - 126);
    bits = (bits & 0x007fffffu) | 0x3f000000u;
    float m;
    std::memcpy(&m, &bits, sizeof m);
    const bool small = m < 0.70710678f;
    e = small ? e - 1.0f : e;
    m = (small ? m + m : m) - 1.0f;
    const float square = m * m;
    float y = 7.0376836292e-2f;
    y = y * m + -1.1514610310e-1f;
    y = y * m + 1.1676998740e-1f;
    y = y * m + -1.2420140846e-1f;
    y = y * m + 1.4249322787e-1f;
    y = y * m + -1.6668057665e-1f;
    y = y * m + 2.0000714765e-1f;
    y = y * m + -2.4999993993e-1f;
    y = y * m + 3.3333331174e-1f;
    y = y * m * square;
    y = y + e * -2.12194440e-4f;
    y = y - 0.5f * square;
    return (m + y) + e * 0.693359375f;
}

// Two normal numbers of two words (Box and Muller 1958). The angle is taken as a quarter of the circle and the rest
// from its middle, for which short polynomials do.
void normal_pair(uint32_t first, uint32_t second, float pair[2]) {
    const float radius = std::sqrt(-2.0f * logarithm(uniform(first)));
    const float quarters = uniform(second) * 4.0f;
    const int quarter = static_cast<int>(quarters);
    const float x = ((quarters - static_cast<float>(quarter)) - 0.5f) * 1.57079637f;
    const float square = x * x;
    float sine = -1.9515295891e-4f;
    sine = sine * square + 8.3321608736e-3f;
    sine = sine * square + -1.6666654611e-1f;
    sine = sine * square * x + x;
    float cosine = 2.443315711809948e-5f;
    cosine = cosine * square + -1.388731625493765e-3f;
    cosine = cosine * square + 4.166664568298827e-2f;
    cosine = cosine * square * square - 0.5f * square + 1.0f;
    const float across = (cosine - sine) * 0.70710678f, up = (cosine + sine) * 0.70710678f;
    const float turned[4][2] = {{across, up}, {-up, across}, {-across, -up}, {up, -across}};
    pair[0] = radius * turned[quarter][0];
    pair[1] = radius * turned[quarter][1];
}

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
        uint32_t words[4];
        float four[4];
        block(seed, call, stream, at / 4, words);
        normal_pair(words[0], words[1], four);
        normal_pair(words[2], words[3], four + 2);
        std::memcpy(normals + at, four, sizeof(float) * static_cast<size_t>(count - at < 4 ? count - at : 4));
    }
}

void random_uniforms(uint64_t seed, uint64_t call, uint32_t stream, int64_t count, float* uniforms) {
    for (int64_t at = 0; at < count; at += 4) {
        uint32_t words[4];
        block(seed, call, stream, at / 4, words);
        for (int64_t index = 0; index < 4 && at + index < count; index++) uniforms[at + index] = uniform(words[index]);
    }
}

}  // namespace openmined

using namespace openmined;

int32_t om_philox(const uint32_t* counter, const uint32_t* key, uint32_t* words) {
    if (counter == nullptr || key == nullptr || words == nullptr) return OM_NULL_POINTER;
    philox(counter, key, words);
    return OM_OK;
}

int32_t om_random_words(uint64_t seed, uint64_t call, uint32_t stream, int64_t count, uint32_t* words) {
    if (count < 0) return OM_BAD_SIZE;
    if (words == nullptr && count > 0) return OM_NULL_POINTER;
    for (int64_t at = 0; at < count; at += 4) {
        uint32_t four[4];
        block(seed, call, stream, at / 4, four);
        std::memcpy(words + at, four, sizeof(uint32_t) * static_cast<size_t>(count - at < 4 ? count - at : 4));
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
