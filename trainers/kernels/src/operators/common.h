// What the C interface of the operators shares: looking at arguments, kernels of a type, work in threads.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>

#include "../internal.h"
#include "openmined_operators.h"
#include "operators.h"

namespace openmined {

constexpr int64_t MOST = int64_t{1} << 48;  // elements: sizes above cannot be meant, and products of them overflow

// NULL if there is no such type.
const OperatorKernels* operators_of(int32_t type);
const ProductKernels& products();

inline bool fractions(int32_t type) { return type == OM_FLOAT32 || type == OM_FLOAT64; }
inline int64_t bytes_of(int32_t type) { return type == OM_FLOAT32 || type == OM_INT32 ? 4 : 8; }
inline bool known(int32_t type) { return type >= OM_FLOAT32 && type <= OM_INT64; }

// Whether sizes are from 0 on and their product is no more than MOST.
inline bool sensible(std::initializer_list<int64_t> sizes) {
    int64_t product = 1;
    for (int64_t size : sizes) {
        if (size < 0 || size > MOST) return false;
        if (product > 0 && size > MOST / product) return false;
        product *= size;
    }
    return true;
}

// Calls work(begin, end) for parts of 0 ... count, each worth about 32768 elements of which one of `count` has `each`.
template <typename Work>
void in_parts(int64_t count, int64_t each, int64_t threads, const Work& work) {
    const int64_t part = each >= 32768 ? 1 : 32768 / (each > 0 ? each : 1);
    if (threads < 2 || count <= part) {
        work(int64_t{0}, count);
        return;
    }
    const int64_t parts = (count + part - 1) / part;
    run_in_threads(parts, threads, [&](int64_t index) {
        const int64_t begin = index * part;
        work(begin, begin + part < count ? begin + part : count);
    });
}

}  // namespace openmined
