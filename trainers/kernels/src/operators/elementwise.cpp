// The C interface of the elementwise operators: tensors of any strides, block by block through dense kernels.
#include <algorithm>
#include <cstdlib>

#include "common.h"
#include "elementwise_table.h"

namespace openmined {
namespace {

constexpr int64_t MOST_DIMENSIONS = 64, OPERANDS = 4, BLOCK = 512;

#define OM_NAME_OF(name, ...) #name,
const char* const UNARY_NAMES[] = {OPENMINED_UNARY(OM_NAME_OF)};
const char* const BINARY_NAMES[] = {OPENMINED_BINARY(OM_NAME_OF)};
const char* const RELATION_NAMES[] = {OPENMINED_RELATION(OM_NAME_OF)};
const char* const INTEGER_UNARY_NAMES[] = {OPENMINED_INTEGER_UNARY(OM_NAME_OF)};
const char* const INTEGER_BINARY_NAMES[] = {OPENMINED_INTEGER_BINARY(OM_NAME_OF)};

template <size_t COUNT>
const char* name_in(const char* const (&names)[COUNT], int32_t number) {
    return number >= 0 && static_cast<size_t>(number) < COUNT ? names[number] : nullptr;
}

// A kernel, how many inputs it has and how long an element of its result is; kernel NULL if there is none.
struct Chosen {
    Elementwise kernel;
    int64_t inputs, out_bytes;
};

Chosen choose(int32_t table, int32_t number, int32_t form, int32_t type) {
    const OperatorKernels* kernels = operators_of(type);
    const bool gradient = form != 0;
    if (kernels == nullptr || om_operator_name(table, number) == nullptr || form < 0) return {nullptr, 0, 0};
    const int64_t bytes = bytes_of(type);
    if (table == OM_UNARY && kernels->unary != nullptr && form < 2)
        return {kernels->unary[number][form], gradient ? 3 : 1, bytes};
    if (table == OM_BINARY && kernels->binary != nullptr && form < 3)
        return {kernels->binary[number][form], gradient ? 3 : 2, bytes};
    if (gradient) return {nullptr, 0, 0};
    if (table == OM_RELATION) return {kernels->relation[number], 2, 1};
    if (table == OM_INTEGER_UNARY && kernels->integer_unary != nullptr) return {kernels->integer_unary[number], 1, bytes};
    if (table == OM_INTEGER_BINARY && kernels->integer_binary != nullptr)
        return {kernels->integer_binary[number], 2, bytes};
    return {nullptr, 0, 0};
}

// A tensor expression with as few dimensions as its strides allow, the result's shortest stride last.
struct Walk {
    int64_t dimensions = 0, operands = 0, total = 1;
    int64_t sizes[MOST_DIMENSIONS];
    int64_t strides[OPERANDS][MOST_DIMENSIONS];
    bool dense[OPERANDS];   // element after element
    bool single[OPERANDS];  // one element for all

    Walk(int64_t count, const int64_t* given, const int64_t* given_strides, int64_t inputs) : operands(inputs + 1) {
        int64_t order[MOST_DIMENSIONS], used = 0;
        const int64_t* out = given_strides + inputs * count;
        for (int64_t d = 0; d < count; d++) {
            total *= given[d];
            if (given[d] == 1) continue;
            int64_t at = used++;
            for (; at > 0 && std::abs(out[order[at - 1]]) < std::abs(out[d]); at--) order[at] = order[at - 1];
            order[at] = d;
        }
        for (int64_t index = 0; index < used; index++) {
            const int64_t d = order[index];
            bool joins = dimensions > 0;
            for (int64_t one = 0; one < operands && joins; one++)
                joins = strides[one][dimensions - 1] == given_strides[one * count + d] * given[d];
            const int64_t to = joins ? dimensions - 1 : dimensions++;
            sizes[to] = joins ? sizes[to] * given[d] : given[d];
            for (int64_t one = 0; one < operands; one++) strides[one][to] = given_strides[one * count + d];
        }
        if (dimensions == 0) {
            dimensions = 1;
            sizes[0] = 1;
            for (int64_t one = 0; one < operands; one++) strides[one][0] = 1;
        }
        for (int64_t one = 0; one < operands; one++) {
            int64_t expected = 1;
            dense[one] = single[one] = true;
            for (int64_t d = dimensions - 1; d >= 0; d--) {
                dense[one] = dense[one] && strides[one][d] == expected;
                single[one] = single[one] && strides[one][d] == 0;
                expected *= sizes[d];
            }
        }
    }

    // Calls run(offset, stride, done, length) for the stretches of the innermost dimension that make up `count`
    // elements from element `first` on.
    template <typename Run>
    void stretches(int64_t one, int64_t first, int64_t count, const Run& run) const {
        int64_t at[MOST_DIMENSIONS], offset = 0, rest = first;
        for (int64_t d = dimensions - 1; d >= 0; d--) {
            at[d] = rest % sizes[d];
            rest /= sizes[d];
            offset += at[d] * strides[one][d];
        }
        const int64_t last = dimensions - 1;
        for (int64_t done = 0; done < count;) {
            int64_t length = sizes[last] - at[last];
            if (length > count - done) length = count - done;
            run(offset, strides[one][last], done, length);
            done += length;
            at[last] += length;
            offset += length * strides[one][last];
            for (int64_t d = last; d > 0 && at[d] == sizes[d]; d--) {
                offset += strides[one][d - 1] - at[d] * strides[one][d];
                at[d] = 0;
                at[d - 1]++;
            }
        }
    }
};

template <typename T>
void gather(const Walk& walk, int64_t one, int64_t first, int64_t count, const void* from, void* to) {
    walk.stretches(one, first, count, [=](int64_t offset, int64_t stride, int64_t done, int64_t length) {
        const T* source = static_cast<const T*>(from) + offset;
        T* target = static_cast<T*>(to) + done;
        if (stride == 0)
            for (int64_t i = 0; i < length; i++) target[i] = *source;
        else
            for (int64_t i = 0; i < length; i++) target[i] = source[i * stride];
    });
}

template <typename T>
void scatter(const Walk& walk, int64_t one, int64_t first, int64_t count, const void* from, void* to) {
    walk.stretches(one, first, count, [=](int64_t offset, int64_t stride, int64_t done, int64_t length) {
        const T* source = static_cast<const T*>(from) + done;
        T* target = static_cast<T*>(to) + offset;
        for (int64_t i = 0; i < length; i++) target[i * stride] = source[i];
    });
}

void run_walk(const Walk& walk, const Chosen& chosen, int64_t bytes, const void* const* inputs, void* out, double a,
              double b, int64_t begin, int64_t end) {
    alignas(64) unsigned char blocks[OPERANDS][BLOCK * 8];
    const int64_t result = chosen.inputs, inner = walk.sizes[walk.dimensions - 1];
    bool all_dense = true;
    for (int64_t one = 0; one < walk.operands; one++) all_dense = all_dense && walk.dense[one];
    for (int64_t first = begin, count; first < end; first += count) {
        count = end - first;
        if (!all_dense && count > BLOCK) count = BLOCK;
        const int64_t left_in_row = inner - first % inner;
        if (!all_dense && inner >= BLOCK / 4 && count > left_in_row) count = left_in_row;
        const bool in_one_row = count <= left_in_row;
        const void* at[OPERANDS];
        const auto direct = [&](int64_t one, int64_t size, const void* base) -> const void* {
            const auto* bytewise = static_cast<const unsigned char*>(base);
            if (walk.dense[one]) return bytewise + first * size;
            if (!in_one_row || walk.strides[one][walk.dimensions - 1] != 1) return nullptr;
            int64_t offset = 0;
            walk.stretches(one, first, 1, [&](int64_t found, int64_t, int64_t, int64_t) { offset = found; });
            return bytewise + offset * size;
        };
        for (int64_t one = 0; one < result; one++) {
            at[one] = direct(one, bytes, inputs[one]);
            if (at[one] != nullptr) continue;
            at[one] = blocks[one];
            if (walk.single[one] && first > begin) continue;  // filled with its only element already
            const int64_t wanted = walk.single[one] && end - begin > count ? std::min(end - begin, BLOCK) : count;
            if (bytes == 4)
                gather<uint32_t>(walk, one, first, wanted, inputs[one], blocks[one]);
            else
                gather<uint64_t>(walk, one, first, wanted, inputs[one], blocks[one]);
        }
        const void* place = direct(result, chosen.out_bytes, out);
        void* to = place != nullptr ? const_cast<void*>(place) : blocks[result];
        chosen.kernel(at, to, count, a, b);
        if (place != nullptr) continue;
        if (chosen.out_bytes == 1)
            scatter<uint8_t>(walk, result, first, count, blocks[result], out);
        else if (chosen.out_bytes == 4)
            scatter<uint32_t>(walk, result, first, count, blocks[result], out);
        else
            scatter<uint64_t>(walk, result, first, count, blocks[result], out);
    }
}

}  // namespace
}  // namespace openmined

using namespace openmined;

const char* om_operator_name(int32_t table, int32_t number) {
    switch (table) {
        case OM_UNARY: return name_in(UNARY_NAMES, number);
        case OM_BINARY: return name_in(BINARY_NAMES, number);
        case OM_RELATION: return name_in(RELATION_NAMES, number);
        case OM_INTEGER_UNARY: return name_in(INTEGER_UNARY_NAMES, number);
        case OM_INTEGER_BINARY: return name_in(INTEGER_BINARY_NAMES, number);
        default: return nullptr;
    }
}

int32_t om_elementwise(int32_t table, int32_t number, int32_t form, int32_t type, int64_t dimensions,
                       const int64_t* sizes, const int64_t* strides, const void* const* inputs, void* out, double a,
                       double b, int64_t threads) {
    const Chosen chosen = choose(table, number, form, type);
    if (chosen.kernel == nullptr) return OM_NOT_SUPPORTED;
    if (dimensions < 0 || dimensions > MOST_DIMENSIONS || threads < 1) return OM_BAD_SIZE;
    if (inputs == nullptr || (dimensions > 0 && (sizes == nullptr || strides == nullptr))) return OM_NULL_POINTER;
    int64_t total = 1;
    for (int64_t d = 0; d < dimensions; d++) {
        if (!sensible({total, sizes[d]})) return OM_BAD_SIZE;
        total *= sizes[d];
    }
    if (total == 0) return OM_OK;
    for (int64_t one = 0; one < chosen.inputs; one++)
        if (inputs[one] == nullptr) return OM_NULL_POINTER;
    if (out == nullptr) return OM_NULL_POINTER;
    try {
        const Walk walk(dimensions, sizes, strides, chosen.inputs);
        in_parts(total, 1, threads, [&](int64_t begin, int64_t end) {
            run_walk(walk, chosen, bytes_of(type), inputs, out, a, b, begin, end);
        });
    } catch (const std::bad_alloc&) {
        return OM_NO_MEMORY;
    }
    return OM_OK;
}

int32_t om_elementwise_dense(int32_t table, int32_t number, int32_t form, int32_t type, int64_t count,
                             const void* first, const void* second, const void* third, void* out, double a, double b,
                             int64_t threads) {
    const void* const inputs[3] = {first, second, third};
    const int64_t strides[4] = {1, 1, 1, 1};
    return om_elementwise(table, number, form, type, 1, &count, strides, inputs, out, a, b, threads);
}
