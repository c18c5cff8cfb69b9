// The shared table of elementwise operators as functions of the row's number.
#pragma once

#include "launch.cuh"

#include "../src/operators/elementwise_math.h"
#include "../src/operators/elementwise_table.h"

namespace openmined {

// The rows' numbers: unary_abs is 0, and so on. Their order is that of the table.
#define OPENMINED_NUMBER(name, ...) unary_##name,
enum UnaryRow { OPENMINED_UNARY(OPENMINED_NUMBER) unary_rows };
#undef OPENMINED_NUMBER
#define OPENMINED_NUMBER(name, ...) binary_##name,
enum BinaryRow { OPENMINED_BINARY(OPENMINED_NUMBER) binary_rows };
#undef OPENMINED_NUMBER
#define OPENMINED_NUMBER(name, ...) relation_##name,
enum RelationRow { OPENMINED_RELATION(OPENMINED_NUMBER) relation_rows };
#undef OPENMINED_NUMBER
#define OPENMINED_NUMBER(name, ...) integer_unary_##name,
enum IntegerUnaryRow { OPENMINED_INTEGER_UNARY(OPENMINED_NUMBER) integer_unary_rows };
#undef OPENMINED_NUMBER
#define OPENMINED_NUMBER(name, ...) integer_binary_##name,
enum IntegerBinaryRow { OPENMINED_INTEGER_BINARY(OPENMINED_NUMBER) integer_binary_rows };
#undef OPENMINED_NUMBER

// All threads of a launch take the same way through a switch, and wait for memory longer than for it.
template <typename T>
__device__ static __forceinline__ T unary_value(int row, T x, T a, T b) {
    (void)a, (void)b;
#define OPENMINED_CASE(name, value, gradient) \
    case unary_##name: return value;
    switch (row) {
        OPENMINED_UNARY(OPENMINED_CASE)
        default: return x;
    }
#undef OPENMINED_CASE
}

template <typename T>
__device__ static __forceinline__ T unary_gradient(int row, T g, T x, T y, T a, T b) {
    (void)x, (void)y, (void)a, (void)b;
#define OPENMINED_CASE(name, value, gradient) \
    case unary_##name: return gradient;
    switch (row) {
        OPENMINED_UNARY(OPENMINED_CASE)
        default: return g;
    }
#undef OPENMINED_CASE
}

template <typename T>
__device__ static __forceinline__ T binary_value(int row, T x, T z) {
#define OPENMINED_CASE(name, value, of_x, of_z) \
    case binary_##name: return value;
    switch (row) {
        OPENMINED_BINARY(OPENMINED_CASE)
        default: return x;
    }
#undef OPENMINED_CASE
}

// `of` 0: the gradient of x, 1: that of z.
template <typename T>
__device__ static __forceinline__ T binary_gradient(int row, int of, T g, T x, T z) {
#define OPENMINED_CASE(name, value, of_x, of_z)   \
    case binary_##name: {                         \
        const T y = value;                        \
        (void)y;                                  \
        return of == 0 ? (of_x) : (of_z);         \
    }
    switch (row) {
        OPENMINED_BINARY(OPENMINED_CASE)
        default: return g;
    }
#undef OPENMINED_CASE
}

template <typename T>
__device__ static __forceinline__ bool relation(int row, T x, T z) {
#define OPENMINED_CASE(name, value) \
    case relation_##name: return value;
    switch (row) {
        OPENMINED_RELATION(OPENMINED_CASE)
        default: return false;
    }
#undef OPENMINED_CASE
}

template <typename T>
__device__ static __forceinline__ T integer_unary_value(int row, T x) {
#define OPENMINED_CASE(name, value) \
    case integer_unary_##name: return value;
    switch (row) {
        OPENMINED_INTEGER_UNARY(OPENMINED_CASE)
        default: return x;
    }
#undef OPENMINED_CASE
}

template <typename T>
__device__ static __forceinline__ T integer_binary_value(int row, T x, T z) {
#define OPENMINED_CASE(name, value) \
    case integer_binary_##name: return value;
    switch (row) {
        OPENMINED_INTEGER_BINARY(OPENMINED_CASE)
        default: return x;
    }
#undef OPENMINED_CASE
}

}  // namespace openmined
