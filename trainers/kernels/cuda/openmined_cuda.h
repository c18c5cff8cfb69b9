/* openmined_cuda: the kernels for NVIDIA GPUs, for any host that can call C.
 *
 * Pointers are to memory of the device unless said, arrays dense and row-major, float32 unless said; sizes are in
 * elements, and a size of 0 does nothing. Each function launches kernels on `stream` (a cudaStream_t, of the device that
 * is current) and returns at once: it never allocates, never waits, and keeps no pointer. The result is 0 or a
 * cudaError. What is wrong with an index or a size is not looked for here: that would need the device's memory.
 */
#ifndef OPENMINED_CUDA_H
#define OPENMINED_CUDA_H

#include <stdint.h>

#if defined(_WIN32)
#define OM_CUDA_API __declspec(dllexport)
#else
#define OM_CUDA_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Grows with every change of what is below. A host compares it with the number it was written for. */
#define OM_CUDA_ABI_VERSION 1
OM_CUDA_API int32_t om_cuda_abi_version(void);

/* CUDA's English sentence for a result. */
OM_CUDA_API const char* om_cuda_error_string(int32_t code);

/* ---- random numbers: those of om_act, see openmined.h; words uint32 [count] ---- */
OM_CUDA_API int32_t om_cuda_random_words(uint64_t seed, uint64_t call, uint32_t random_stream, int64_t count,
                                         uint32_t* words, void* stream);
OM_CUDA_API int32_t om_cuda_random_normals(uint64_t seed, uint64_t call, uint32_t random_stream, int64_t count,
                                           float* normals, void* stream);
OM_CUDA_API int32_t om_cuda_random_uniforms(uint64_t seed, uint64_t call, uint32_t random_stream, int64_t count,
                                            float* uniforms, void* stream);

/* ---- the pieces of acting; between them the host multiplies matrices ---- */
/* inputs [rows, columns of a matrix with rows `stride` apart] = clamp((observations - mean) * scale, -5, 5), or the
 * observations [rows, columns] as they are where mean is NULL. */
OM_CUDA_API int32_t om_cuda_normalize(int64_t rows, int64_t columns, const float* observations, const float* mean,
                                      const float* scale, float* inputs, int64_t stride, void* stream);
/* values [rows, columns], in place: swish(values + bias [columns]); slopes [rows, columns]: its derivative, or NULL. */
OM_CUDA_API int32_t om_cuda_bias_swish(int64_t rows, int64_t columns, const float* bias, float* values, float* slopes,
                                       void* stream);

typedef struct om_cuda_act_arguments {
    int64_t agents, continuous, branch_count, logits;  /* logits: of all branches together */
    int64_t stride;                /* from one agent's outputs to the next one's */
    const int64_t* branch_sizes;   /* [branch_count] */
    const float* outputs;          /* [agents, stride]: means, then logits */
    const float* log_sigma;        /* [continuous] */
    const uint8_t* allowed;        /* [agents, logits], 0: forbidden; NULL allows everything */
    uint64_t seed, call;
    int64_t deterministic;         /* 1: the mean and the most probable action */
    float* continuous_actions;     /* [agents, continuous]: as sampled */
    float* continuous_for_player;  /* [agents, continuous]: clamp(a, -3, 3) / 3 */
    int64_t* discrete_actions;     /* [agents, branch_count] */
    float* log_probs;              /* [agents, continuous + branch_count] */
    float* entropies;              /* [agents]: mean over dimensions plus sum over branches */
} om_cuda_act_arguments;

/* Draws the actions of om_act. The structure itself is the host's. */
OM_CUDA_API int32_t om_cuda_act(const om_cuda_act_arguments* arguments, void* stream);

/* ---- generalised advantage estimation, see om_gae ----
 * `starts` [trajectories + 1]: where each begins, and steps. */
OM_CUDA_API int32_t om_cuda_gae(int64_t trajectories, int64_t signals, const float* rewards, const float* values,
                                const int64_t* starts, const float* next_values, const double* gammas, double lambda,
                                float* advantages, float* returns, void* stream);

/* ---- the pieces of a PPO update; between them the host multiplies matrices ---- */
/* to [rows, columns] = the rows `order` [rows] of from. */
OM_CUDA_API int32_t om_cuda_gather_rows(int64_t rows, int64_t columns, const float* from, const int64_t* order,
                                        float* to, void* stream);

typedef struct om_cuda_ppo_arguments {
    int64_t rows;                  /* of the minibatch */
    int64_t continuous, branch_count, logits, signals;
    int64_t value_clipping;        /* 1: the greater of the plain and of the clipped squared error */
    double epsilon, beta;
    const int64_t* branch_sizes;   /* [branch_count] */
    const float* outputs;          /* [rows, continuous + logits + signals] */
    const float* log_sigma;        /* [continuous] */
    const int64_t* order;          /* [rows]: steps of the arrays below */
    const float* continuous_actions; /* [steps, continuous] */
    const int64_t* discrete_actions; /* [steps, branch_count] */
    const float* log_probs;        /* [steps, continuous + branch_count], of the policy that acted */
    const uint8_t* allowed;        /* [steps, logits], or NULL */
    const float* advantages;       /* [steps] */
    const float* returns;          /* [steps, signals] */
    const float* values;           /* [steps, signals], of the critic that was there before */
    float* gradients;              /* [rows, continuous + logits + signals + continuous]: of the outputs, then each
                                      row's share of log sigma's */
    float* losses;                 /* [rows, 2]: each row's share of the policy's and of the value loss */
} om_cuda_ppo_arguments;

OM_CUDA_API int32_t om_cuda_ppo_losses(const om_cuda_ppo_arguments* arguments, void* stream);

/* The sum of each column of a matrix with rows `stride` apart; goes to result[places[column]], or to result[column]
 * where places is NULL. */
OM_CUDA_API int32_t om_cuda_column_sums(int64_t rows, int64_t columns, const float* matrix, int64_t stride,
                                        const int64_t* places, float* result, void* stream);
/* gradients [rows, columns], in place, of a swish's result to those of what went in; bias_gradient [columns]: their
 * sums. */
OM_CUDA_API int32_t om_cuda_swish_backward(int64_t rows, int64_t columns, const float* slopes, float* gradients,
                                           float* bias_gradient, void* stream);

/* ---- tensor operators ----
 * Tensors of type `type`, other than where said. Lines: a tensor [outer, size, inner] has outer * inner lines of `size`
 * numbers, `inner` apart; an operator works along each of them. */
enum om_cuda_type { OM_CUDA_FLOAT32, OM_CUDA_FLOAT64, OM_CUDA_INT32, OM_CUDA_INT64 };

#define OM_CUDA_OPERANDS 4
#define OM_CUDA_DIMENSIONS 8
typedef struct om_cuda_layout {
    int64_t dimensions; /* 0 to 8 */
    int64_t sizes[OM_CUDA_DIMENSIONS];
    int64_t strides[OM_CUDA_OPERANDS][OM_CUDA_DIMENSIONS]; /* of the result, then of the others, in elements */
} om_cuda_layout;

/* What a row of elementwise_table.h is asked for: its value or its gradients. The result of a relation is uint8. */
enum om_cuda_kind {
    OM_CUDA_UNARY,          /* of x */
    OM_CUDA_UNARY_GRADIENT, /* of g, x, y */
    OM_CUDA_BINARY,         /* of x and z, a tensor, or the number a (whole for whole numbers) where it is NULL */
    OM_CUDA_GRADIENT_OF_X,  /* of g, x, z */
    OM_CUDA_GRADIENT_OF_Z,
    OM_CUDA_RELATION        /* as OM_CUDA_BINARY */
};
OM_CUDA_API int32_t om_cuda_elementwise(int32_t kind, int32_t row, int32_t type, const om_cuda_layout* layout,
                                        void* result, const void* first, const void* second, const void* third,
                                        double a, double b, int64_t whole, void* stream);
/* values [rows, columns], in place: row `row` of the unary table (-1: no change) of values + bias [columns] (or NULL). */
OM_CUDA_API int32_t om_cuda_bias_activation(int32_t type, int64_t rows, int64_t columns, int32_t row, const void* bias,
                                            void* values, void* stream);

/* number: the correction of var and std, p of norm. With splits > 1 a line is shared by as many blocks; `workspace`
 * then holds outer * splits * 3 numbers, and inner is 1. Whole numbers: sum, prod, min and max, as int64. */
enum om_cuda_reduction {
    OM_CUDA_SUM, OM_CUDA_MEAN, OM_CUDA_PROD, OM_CUDA_MIN, OM_CUDA_MAX, OM_CUDA_VAR, OM_CUDA_STD, OM_CUDA_NORM
};
OM_CUDA_API int32_t om_cuda_reduce(int32_t reduction, int32_t type, int64_t outer, int64_t size, int64_t inner,
                                   int64_t splits, double number, const void* x, void* workspace, void* result,
                                   void* stream);
/* Of min, max, var, std and norm; g and y [outer, inner]. */
OM_CUDA_API int32_t om_cuda_reduce_gradient(int32_t reduction, int32_t type, int64_t outer, int64_t size,
                                            int64_t inner, double number, const void* g, const void* x, const void* y,
                                            void* result, void* stream);

/* Running sums, products, or recurrences r[i] = x[i] + factors[i] * r[i - 1]; backwards: from the end of each line;
 * exclusive: without the number itself. */
enum om_cuda_scan { OM_CUDA_CUMSUM, OM_CUDA_CUMPROD, OM_CUDA_RECURRENCE };
OM_CUDA_API int32_t om_cuda_scan(int32_t scan, int32_t type, int64_t outer, int64_t size, int64_t inner,
                                 int64_t backwards, int64_t exclusive, const void* x, const void* factors,
                                 void* result, void* stream);

OM_CUDA_API int32_t om_cuda_softmax(int32_t type, int64_t logarithm, int64_t outer, int64_t size, int64_t inner,
                                    const void* x, void* y, void* stream);
OM_CUDA_API int32_t om_cuda_softmax_gradient(int32_t type, int64_t logarithm, int64_t outer, int64_t size,
                                             int64_t inner, const void* g, const void* y, void* result, void* stream);

/* x [rows, size]; target int64 [rows] where classes is 1, else like x; result [rows], of a gradient like x. A class that
 * there is not gives NaN. */
enum om_cuda_loss { OM_CUDA_CROSS_ENTROPY, OM_CUDA_NLL, OM_CUDA_CATEGORICAL };
OM_CUDA_API int32_t om_cuda_row_loss(int32_t loss, int32_t type, int64_t classes, int64_t rows, int64_t size,
                                     const void* x, const void* target, void* result, void* stream);
OM_CUDA_API int32_t om_cuda_row_loss_gradient(int32_t loss, int32_t type, int64_t classes, int64_t rows, int64_t size,
                                              const void* g, const void* x, const void* target, void* result,
                                              void* stream);
/* With respect to a target like x. */
OM_CUDA_API int32_t om_cuda_row_loss_target_gradient(int32_t loss, int32_t type, int64_t rows, int64_t size,
                                                     const void* g, const void* x, void* result, void* stream);

/* result [outer, count, inner] = the places `index` [count] of x [outer, size, inner]; index_add: adds source [outer,
 * count, inner] to them, in any order. A place that there is not gives 0, or is left out. */
OM_CUDA_API int32_t om_cuda_index_select(int32_t type, int64_t outer, int64_t size, int64_t inner, int64_t count,
                                         const void* x, const int64_t* index, void* result, void* stream);
OM_CUDA_API int32_t om_cuda_index_add(int32_t type, int64_t outer, int64_t size, int64_t inner, int64_t count,
                                      const int64_t* index, const void* source, void* result, void* stream);
/* matrices [matrices, rows, columns]: what lies below the diagonal becomes 0. */
OM_CUDA_API int32_t om_cuda_triu(int32_t type, int64_t matrices, int64_t rows, int64_t columns, int64_t diagonal,
                                 const void* x, void* result, void* stream);

/* result int64 [outer, inner]: drawn from each line by inverting its cumulative sums. */
OM_CUDA_API int32_t om_cuda_sample(int32_t type, int64_t outer, int64_t size, int64_t inner, uint64_t seed,
                                   uint64_t call, const void* probabilities, int64_t* result, void* stream);
/* `kept`, or 0 with the probability `rate`. */
OM_CUDA_API int32_t om_cuda_dropout_mask(int32_t type, int64_t count, double rate, double kept, uint64_t seed,
                                         uint64_t call, void* result, void* stream);
OM_CUDA_API int32_t om_cuda_fill_uniform(int32_t type, int64_t count, double low, double high, uint64_t seed,
                                         uint64_t call, void* result, void* stream);
/* Whole numbers, low <= number < low + range. */
OM_CUDA_API int32_t om_cuda_fill_random(int32_t type, int64_t count, int64_t low, int64_t range, uint64_t seed,
                                        uint64_t call, void* result, void* stream);

/* A step of an optimizer as torch.optim has it; Adam's steps count from 1. momentum_buffer may be NULL where momentum is
 * 0, and is not read before the first step. */
OM_CUDA_API int32_t om_cuda_sgd(int32_t type, int64_t count, double lr, double momentum, double dampening,
                                double weight_decay, int64_t nesterov, int64_t first, void* param, const void* grad,
                                void* momentum_buffer, void* stream);
OM_CUDA_API int32_t om_cuda_rmsprop(int32_t type, int64_t count, double lr, double alpha, double eps,
                                    double weight_decay, double momentum, void* param, const void* grad,
                                    void* square_avg, void* momentum_buffer, void* stream);
OM_CUDA_API int32_t om_cuda_adam(int32_t type, int64_t count, int64_t step, double lr, double beta1, double beta2,
                                 double eps, double weight_decay, void* param, const void* grad, void* exp_avg,
                                 void* exp_avg_sq, void* stream);

#ifdef __cplusplus
}
#endif

#endif
