// Every elementwise operator: one row each. C++, CUDA and Python all read this table; nothing else may stand in it.
//
// A row holds a name, the value, and for numbers with a fraction the gradient: of x in the first table, of x and of z
// in the second one. There are
//     x, z    the arguments (z is a tensor or a number, broadcast)
//     y       the value
//     g       the gradient of y
//     a, b    two settings, which clamp uses as its bounds
//     T       their type
// and the functions of elementwise_math.h. The place of a row is the operator's number, so new rows go to the end.
#pragma once

// float, double
#define OPENMINED_UNARY(ROW)                                                         \
    ROW(abs, absolute(x), g * sign(x))                                               \
    ROW(acos, arc_cosine(x), -g / square_root(T(1) - x * x))                         \
    ROW(asin, arc_sine(x), g / square_root(T(1) - x * x))                            \
    ROW(atan, arc_tangent(x), g / (T(1) + x * x))                                    \
    ROW(sin, sine(x), g * cosine(x))                                                 \
    ROW(cos, cosine(x), -g * sine(x))                                                \
    ROW(tan, tangent(x), g * (T(1) + y * y))                                         \
    ROW(sinh, hyperbolic_sine(x), g * hyperbolic_cosine(x))                          \
    ROW(cosh, hyperbolic_cosine(x), g * hyperbolic_sine(x))                          \
    ROW(neg, -x, -g)                                                                 \
    ROW(reciprocal, T(1) / x, -g * y * y)                                            \
    ROW(sqrt, square_root(x), g / (T(2) * y))                                        \
    ROW(rsqrt, T(1) / square_root(x), T(-0.5) * g * y * y * y)                       \
    ROW(exp, exponential(x), g * y)                                                  \
    ROW(log, logarithm(x), g / x)                                                    \
    ROW(log1p, logarithm_1p(x), g / (T(1) + x))                                      \
    ROW(ceil, round_up(x), T(0))                                                     \
    ROW(floor, round_down(x), T(0))                                                  \
    ROW(round, round_even(x), T(0))                                                  \
    ROW(trunc, truncate(x), T(0))                                                    \
    ROW(frac, x - truncate(x), g)                                                    \
    ROW(sign, sign(x), T(0))                                                         \
    ROW(sigmoid, logistic(x), g * (T(1) - y) * y)                                    \
    ROW(tanh, hyperbolic_tangent(x), g * (T(1) - y * y))                             \
    ROW(relu, x < T(0) ? T(0) : x, y <= T(0) ? T(0) : g)                             \
    ROW(swish, x * logistic(x), g * logistic(x) * (T(1) + x * (T(1) - logistic(x)))) \
    ROW(clamp, smaller(larger(x, T(a)), T(b)), x >= T(a) && x <= T(b) ? g : T(0))    \
    ROW(softplus, x > T(20) ? x : logarithm_1p(exponential(x)), x > T(20) ? g : g * logistic(x))

// float, double
#define OPENMINED_BINARY(ROW)                                              \
    ROW(add, x + z, g, g)                                                  \
    ROW(sub, x - z, g, -g)                                                 \
    ROW(mul, x * z, g * z, g * x)                                          \
    ROW(div, x / z, g / z, -g * ((x / z) / z))                             \
    ROW(pow, power(x, z), z == T(0) ? T(0) : g * (z * power(x, z - T(1))), \
        x == T(0) && z >= T(0) ? T(0) : g * (y * logarithm(x)))            \
    ROW(remainder, floor_remainder(x, z), g, -g * round_down(x / z))       \
    ROW(squared_difference, (x - z) * (x - z), T(2) * g * (x - z), T(-2) * g * (x - z))

// float, double, int32_t, int64_t; the value is a truth
#define OPENMINED_RELATION(ROW) \
    ROW(eq, x == z)             \
    ROW(lt, x < z)

// int32_t, int64_t
#define OPENMINED_INTEGER_UNARY(ROW) \
    ROW(abs, absolute(x))            \
    ROW(neg, wrapping_sub(T(0), x))  \
    ROW(sign, sign(x))

// int32_t, int64_t
#define OPENMINED_INTEGER_BINARY(ROW) \
    ROW(add, wrapping_add(x, z))      \
    ROW(sub, wrapping_sub(x, z))      \
    ROW(mul, wrapping_mul(x, z))      \
    ROW(pow, power(x, z))             \
    ROW(remainder, floor_remainder(x, z))
