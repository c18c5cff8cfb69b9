/* openmined: operators over several tensors in one call. The rules of openmined_operators.h hold. */
#ifndef OPENMINED_COMBINED_H
#define OPENMINED_COMBINED_H

#include "openmined_operators.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- linear layers one after the other, float32, one thread ----
 * Each gives output [rows, outputs] = activation(input times weight^T + bias), the input being the output before or x
 * [rows, inputs]. All arrays are dense. */
typedef struct om_layer {
    int64_t outputs;
    int64_t activation;      /* om_activation */
    const float* weight;     /* [outputs, inputs] */
    const float* bias;       /* [outputs], or NULL */
    float* output;           /* [rows, outputs]: written by om_mlp, read by om_mlp_gradient */
    float* weight_gradient;  /* of om_mlp_gradient; NULL: not wanted */
    float* bias_gradient;
} om_layer;

OM_API int32_t om_mlp(int64_t rows, int64_t inputs, const float* x, int64_t layer_count, const om_layer* layers);
/* From g, the gradient of the last output, those of weights, biases and, unless it is NULL, x. */
OM_API int32_t om_mlp_gradient(int64_t rows, int64_t inputs, const float* x, int64_t layer_count,
                               const om_layer* layers, const float* g, float* x_gradient);

/* ---- a step of an optimizer for several tensors ----
 * What `first` and `second` are: for om_sgd the momentum buffer; for om_rmsprop the average of squares and the momentum
 * buffer; for om_adam the averages of gradients and of their squares. What comes before an error has been done. */
typedef struct om_stepped {
    int64_t count;
    void* param;
    const void* grad;
    void* first;
    void* second;
} om_stepped;

OM_API int32_t om_sgd_all(int32_t type, int64_t tensors, const om_stepped* of, double lr, double momentum,
                          double dampening, double weight_decay, int32_t nesterov, int32_t first, int64_t threads);
OM_API int32_t om_rmsprop_all(int32_t type, int64_t tensors, const om_stepped* of, double lr, double alpha, double eps,
                              double weight_decay, double momentum, int64_t threads);
OM_API int32_t om_adam_all(int32_t type, int64_t tensors, const om_stepped* of, int64_t step, double lr, double beta1,
                           double beta2, double eps, double weight_decay, int64_t threads);

#ifdef __cplusplus
}
#endif

#endif
