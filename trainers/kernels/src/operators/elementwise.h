// Loops over the rows of the elementwise table, which the compiler turns into vectors.
#pragma once

#include "elementwise_math.h"
#include "elementwise_table.h"
#include "operators.h"

#if defined(__clang__)
#pragma clang diagnostic ignored "-Wpass-failed"  // loops that call the C library stay as they are
#define OM_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define OM_INDEPENDENT _Pragma("GCC ivdep")
#endif
#define OM_UNUSED(value) static_cast<void>(value)

// A kernel: READ gives the elements of the inputs the names that the table has for them.
#define OM_KERNEL(function, OUT, READ, VALUE)                                                                        \
    template <typename T>                                                                                            \
    static void function(const void* const* inputs, void* out, int64_t count, double a, double b) {                  \
        OUT* const to = static_cast<OUT*>(out);                                                                      \
        OM_UNUSED(a);                                                                                                \
        OM_UNUSED(b);                                                                                                \
        OM_INDEPENDENT                                                                                               \
        for (int64_t index = 0; index < count; index++) {                                                            \
            READ;                                                                                                    \
            to[index] = VALUE;                                                                                       \
        }                                                                                                            \
    }
#define OM_READ(name, place) \
    const T name = static_cast<const T*>(inputs[place])[index]; \
    OM_UNUSED(name)

#define OM_UNARY(name, value, gradient)                                                      \
    OM_KERNEL(unary_##name, T, OM_READ(x, 0), static_cast<T>(value))                         \
    OM_KERNEL(unary_gradient_##name, T, OM_READ(g, 0); OM_READ(x, 1); OM_READ(y, 2), static_cast<T>(gradient))
#define OM_BINARY(name, value, gradient_x, gradient_z)                                                           \
    OM_KERNEL(binary_##name, T, OM_READ(x, 0); OM_READ(z, 1), static_cast<T>(value))                             \
    OM_KERNEL(binary_gradient_x_##name, T, OM_READ(g, 0); OM_READ(x, 1); OM_READ(z, 2);                          \
              const T y = static_cast<T>(value); OM_UNUSED(y), static_cast<T>(gradient_x))                       \
    OM_KERNEL(binary_gradient_z_##name, T, OM_READ(g, 0); OM_READ(x, 1); OM_READ(z, 2);                          \
              const T y = static_cast<T>(value); OM_UNUSED(y), static_cast<T>(gradient_z))
#define OM_RELATION(name, value) OM_KERNEL(relation_##name, uint8_t, OM_READ(x, 0); OM_READ(z, 1), (value) ? 1 : 0)
#define OM_INTEGER_UNARY(name, value) OM_KERNEL(integer_unary_##name, T, OM_READ(x, 0), value)
#define OM_INTEGER_BINARY(name, value) OM_KERNEL(integer_binary_##name, T, OM_READ(x, 0); OM_READ(z, 1), value)

#define OM_UNARY_PLACE(name, value, gradient) {unary_##name<T>, unary_gradient_##name<T>},
#define OM_BINARY_PLACE(name, value, gradient_x, gradient_z) \
    {binary_##name<T>, binary_gradient_x_##name<T>, binary_gradient_z_##name<T>},
#define OM_RELATION_PLACE(name, value) relation_##name<T>,
#define OM_INTEGER_UNARY_PLACE(name, value) integer_unary_##name<T>,
#define OM_INTEGER_BINARY_PLACE(name, value) integer_binary_##name<T>,

namespace OM_NAMESPACE {

using openmined::Along;
using openmined::Elementwise;
using openmined::OperatorKernels;
using openmined::Step;

OPENMINED_UNARY(OM_UNARY)
OPENMINED_BINARY(OM_BINARY)
OPENMINED_RELATION(OM_RELATION)
OPENMINED_INTEGER_UNARY(OM_INTEGER_UNARY)
OPENMINED_INTEGER_BINARY(OM_INTEGER_BINARY)

template <typename T>
constexpr Elementwise UNARY[][2] = {OPENMINED_UNARY(OM_UNARY_PLACE)};
template <typename T>
constexpr Elementwise BINARY[][3] = {OPENMINED_BINARY(OM_BINARY_PLACE)};
template <typename T>
constexpr Elementwise RELATION[] = {OPENMINED_RELATION(OM_RELATION_PLACE)};
template <typename T>
constexpr Elementwise INTEGER_UNARY[] = {OPENMINED_INTEGER_UNARY(OM_INTEGER_UNARY_PLACE)};
template <typename T>
constexpr Elementwise INTEGER_BINARY[] = {OPENMINED_INTEGER_BINARY(OM_INTEGER_BINARY_PLACE)};

}  // namespace OM_NAMESPACE
