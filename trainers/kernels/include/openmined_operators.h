/* openmined: tensor operators on the CPU. The rules of openmined.h hold: the caller owns all memory, sizes are in
 * elements, strides too, a function returns om_status and never throws. `threads`: at most so many work on it.
 *
 * "Along": a tensor that is worked on along one dimension is dense and seen as [outer, size, inner]. A result may be an
 * input of the same shape; otherwise they do not overlap.
 */
#ifndef OPENMINED_OPERATORS_H
#define OPENMINED_OPERATORS_H

#include "openmined.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum om_type { OM_FLOAT32 = 0, OM_FLOAT64 = 1, OM_INT32 = 2, OM_INT64 = 3 } om_type;

/* ---- elementwise: the rows of src/operators/elementwise_table.h ----
 * A row is known by its table and its place in it. `form` 0: the value; 1: the gradient of x; 2: of z. Inputs are
 * x (unary), x and z (binary); of a gradient g, x and y (unary), g, x and z (binary). All have one type, and so has
 * the result, but that of OM_RELATION, which is uint8_t. The integer tables are for the integer types. */
typedef enum om_table {
    OM_UNARY = 0,
    OM_BINARY = 1,
    OM_RELATION = 2,
    OM_INTEGER_UNARY = 3,
    OM_INTEGER_BINARY = 4
} om_table;

OM_API const char* om_operator_name(int32_t table, int32_t number); /* NULL: there is no such row */

/* `strides` [inputs + 1, dimensions], the result's last; 0 repeats an element. `a`, `b`: settings of the row. */
OM_API int32_t om_elementwise(int32_t table, int32_t number, int32_t form, int32_t type, int64_t dimensions,
                              const int64_t* sizes, const int64_t* strides, const void* const* inputs, void* out,
                              double a, double b, int64_t threads);
/* The same for dense arrays of `count` elements; inputs that the row does not have are NULL. */
OM_API int32_t om_elementwise_dense(int32_t table, int32_t number, int32_t form, int32_t type, int64_t count,
                                    const void* first, const void* second, const void* third, void* out, double a,
                                    double b, int64_t threads);

/* ---- along a dimension: float32 and float64 ---- */
typedef enum om_reduction {
    OM_SUM = 0,
    OM_MEAN = 1,
    OM_PROD = 2,
    OM_MIN = 3,
    OM_MAX = 4,
    OM_VAR = 5,    /* number: the correction */
    OM_STD = 6,
    OM_NORM = 7,   /* number: p, from 0 on; infinity is allowed */
    OM_CUMSUM = 8, /* these two: y has the shape of x */
    OM_CUMPROD = 9
} om_reduction;

/* y [outer, inner]. OM_MIN and OM_MAX need a size from 1 on. */
OM_API int32_t om_reduce(int32_t kind, int32_t type, int64_t outer, int64_t size, int64_t inner, double number,
                         const void* x, void* y, int64_t threads);
/* out [outer, size, inner]: the gradient of x, from that of y. Not for OM_SUM and OM_MEAN, where it is g, spread. */
OM_API int32_t om_reduction_gradient(int32_t kind, int32_t type, int64_t outer, int64_t size, int64_t inner,
                                     double number, const void* g, const void* x, const void* y, void* out,
                                     int64_t threads);
OM_API int32_t om_softmax(int32_t logarithm, int32_t type, int64_t outer, int64_t size, int64_t inner, const void* x,
                          void* y, int64_t threads);
OM_API int32_t om_softmax_gradient(int32_t logarithm, int32_t type, int64_t outer, int64_t size, int64_t inner,
                                   const void* g, const void* y, void* out, int64_t threads);

/* ---- losses over rows of classes ----
 * Either `index` [rows] holds the class of each row, or `target` [rows, classes] its probabilities; the other is NULL.
 * OM_CATEGORICAL_CROSS_ENTROPY takes `target` only. */
typedef enum om_loss { OM_CROSS_ENTROPY = 0, OM_NLL = 1, OM_CATEGORICAL_CROSS_ENTROPY = 2 } om_loss;

OM_API int32_t om_row_loss(int32_t kind, int32_t type, int64_t rows, int64_t classes, const void* x,
                           const int64_t* index, const void* target, void* losses, int64_t threads);
/* out [rows, classes], from g [rows]: the gradient of x, or with of_target 1 of `target`. */
OM_API int32_t om_row_loss_gradient(int32_t kind, int32_t type, int64_t rows, int64_t classes, int32_t of_target,
                                    const void* g, const void* x, const int64_t* index, const void* target, void* out,
                                    int64_t threads);

/* ---- products, float32 ----
 * out [rows, columns], dense = activation(left [rows, inner] times right [inner, columns] + bias [columns]); bias may
 * be NULL. */
typedef enum om_activation { OM_NONE = 0, OM_RELU = 1, OM_SIGMOID = 2, OM_TANH = 3, OM_SWISH = 4 } om_activation;

OM_API int32_t om_product(int64_t rows, int64_t inner, int64_t columns, const float* left, int64_t left_row,
                          int64_t left_column, const float* right, int64_t right_row, int64_t right_column,
                          const float* bias, int32_t activation, float* out, int64_t threads);

/* ---- places: all four types ---- */
/* out [outer, count, inner] = x [outer, size, inner] at index [count]. OM_BAD_INDEX: nothing has been written. */
OM_API int32_t om_index_select(int32_t type, int64_t outer, int64_t size, int64_t inner, int64_t count, const void* x,
                               const int64_t* index, void* out);
/* x at index += source [outer, count, inner]. */
OM_API int32_t om_index_add(int32_t type, int64_t outer, int64_t size, int64_t inner, int64_t count, void* x,
                            const int64_t* index, const void* source);
/* Zeros below a diagonal of matrices [batches, rows, columns]; out may be x. */
OM_API int32_t om_triu(int32_t type, int64_t batches, int64_t rows, int64_t columns, int64_t diagonal, const void* x,
                       void* out);
/* sum: one element, of an integer type int64_t. `stride`: from one element of the diagonal to the next. */
OM_API int32_t om_trace(int32_t type, int64_t count, int64_t stride, const void* x, void* sum);
/* `value` or, for an integer type, `whole`. */
OM_API int32_t om_fill(int32_t type, int64_t count, double value, int64_t whole, void* out);

/* ---- random numbers: Philox4x32-10 as openmined.h says ---- */
/* chosen [outer, inner]: the place in [outer, size, inner] whose cumulative share first exceeds a uniform number of
 * stream 1. float32 and float64. OM_BAD_NUMBER: a row has no positive finite sum, or a share is below 0. */
OM_API int32_t om_sample(int32_t type, int64_t outer, int64_t size, int64_t inner, uint64_t seed, uint64_t call,
                         const void* probabilities, int64_t* chosen);
/* 0 with probability `rate`, else `kept`; stream 3. float32 and float64. */
OM_API int32_t om_dropout_mask(int32_t type, int64_t count, double rate, double kept, uint64_t seed, uint64_t call,
                               void* out);
/* In low ... high, from uniform numbers of 23 bits; stream 4. float32 and float64. */
OM_API int32_t om_uniform(int32_t type, int64_t count, double low, double high, uint64_t seed, uint64_t call,
                          void* out);
/* Whole numbers from low to below high, at most 2^31 of them; stream 5. All types. */
OM_API int32_t om_whole_numbers(int32_t type, int64_t count, int64_t low, int64_t high, uint64_t seed, uint64_t call,
                                void* out);

/* ---- one step of an optimizer, as torch.optim takes it: float32 and float64, dense arrays of `count` ---- */
typedef enum om_optimizer { OM_SGD = 0, OM_RMSPROP = 1, OM_ADAM = 2 } om_optimizer;

/* momentum_buffer may be NULL if momentum is 0; first 1: it is empty yet. */
OM_API int32_t om_sgd(int32_t type, int64_t count, void* param, const void* grad, void* momentum_buffer, double lr,
                      double momentum, double dampening, double weight_decay, int32_t nesterov, int32_t first,
                      int64_t threads);
OM_API int32_t om_rmsprop(int32_t type, int64_t count, void* param, const void* grad, void* square_avg,
                          void* momentum_buffer, double lr, double alpha, double eps, double weight_decay,
                          double momentum, int64_t threads);
/* step counts from 1. */
OM_API int32_t om_adam(int32_t type, int64_t count, void* param, const void* grad, void* exp_avg, void* exp_avg_sq,
                       int64_t step, double lr, double beta1, double beta2, double eps, double weight_decay,
                       int64_t threads);

#ifdef __cplusplus
}
#endif

#endif
