// What the operators' kernels and their C interface share.
#pragma once

#include <stdint.h>

namespace openmined {

// One row of the elementwise table over dense arrays. A value's inputs are x (and z), a gradient's g, x and y (z).
// `out` may be one of the inputs; otherwise they do not overlap.
typedef void (*Elementwise)(const void* const* inputs, void* out, int64_t count, double a, double b);

// Element (o, i, n) of a tensor that is worked on along `size` lies at (o * size + i) * inner + n; of the result at
// o * inner + n. A kernel does the `o` from begin to end.
struct Along {
    int64_t size, inner, begin, end;
};

struct Step {  // of an optimizer; `third` and the numbers depend on which
    void *param, *first, *second;
    const void* grad;
    int64_t begin, end;
    double rate, numbers[6];
};

// Kernels for one type; what a type has not got is NULL.
struct OperatorKernels {
    const Elementwise (*unary)[2];   // value, gradient
    const Elementwise (*binary)[3];  // value, gradients of x and of z
    const Elementwise* relation;     // to uint8_t
    const Elementwise* integer_unary;
    const Elementwise* integer_binary;
    void (*reduce)(int32_t kind, const Along&, double number, const void* x, void* y);
    void (*reduction_gradient)(int32_t kind, const Along&, double number, const void* g, const void* x, const void* y,
                               void* out);
    void (*softmax)(bool logarithm, const Along&, const void* x, void* y);
    void (*softmax_gradient)(bool logarithm, const Along&, const void* g, const void* y, void* out);
    // Rows of a loss; `index` or `target` is NULL. of_target: the gradient of the target.
    void (*row_loss)(int32_t kind, const Along&, const void* x, const int64_t* index, const void* target, void* out);
    void (*row_loss_gradient)(int32_t kind, const Along&, bool of_target, const void* g, const void* x,
                              const int64_t* index, const void* target, void* out);
    void (*step)(int32_t kind, const Step&);
};

// out [rows, columns] = activation(left times right + bias), sides of any strides. float32.
struct Product {
    int64_t rows, inner, columns;
    const float* left;
    int64_t left_row, left_column;
    const float* right;
    int64_t right_row, right_column;
    const float* bias;  // [columns] or NULL
    int32_t activation;
    float* out;
};

struct ProductKernels {
    int64_t (*workspace)(int64_t inner, int64_t columns);  // floats
    void (*multiply)(const Product&, float* workspace);
};

extern const OperatorKernels operators_portable, operators_double, operators_int32, operators_int64;
extern const ProductKernels products_portable;
#if defined(__x86_64__) || defined(_M_X64)
extern const OperatorKernels operators_avx2, operators_avx512;
extern const ProductKernels products_avx2, products_avx512;
#endif

}  // namespace openmined
