/* openmined: PPO for small networks on the CPU, for any host that can call C.
 *
 * The caller owns all memory but the network handle. Arrays are dense and row-major, float32 unless said; sizes are in
 * elements. Functions return OM_OK or another om_status and never throw; with an error nothing has been changed. No
 * function keeps a pointer after it returns. A handle must not be used by two threads at once; different ones may.
 *
 * From C#: [DllImport("openmined")], CallingConvention.Cdecl, structs with LayoutKind.Sequential, pointers as IntPtr.
 */
#ifndef OPENMINED_H
#define OPENMINED_H

#include <stdint.h>

#if defined(_WIN32)
#define OM_API __declspec(dllexport)
#else
#define OM_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Grows with every change of what is below. A host compares it with the number it was written for. */
#define OM_ABI_VERSION 1
OM_API int32_t om_abi_version(void);

typedef enum om_status {
    OM_OK = 0,
    OM_NULL_POINTER = 1,   /* an array or structure that is needed was not given */
    OM_BAD_SIZE = 2,       /* a size is below its least value, or sizes do not fit together */
    OM_BAD_OFFSET = 3,     /* a parameter would lie outside of the parameters */
    OM_BAD_INDEX = 4,      /* an entry of `order` is no step of the batch */
    OM_BAD_ACTION = 5,     /* a discrete action is outside of its branch */
    OM_BAD_NUMBER = 6,     /* a setting is not a number or out of range */
    OM_NO_MEMORY = 7,
    OM_NOT_SUPPORTED = 8   /* this processor lacks the instruction set, or there is none of that name */
} om_status;

/* One English sentence for a status; never NULL. */
OM_API const char* om_error_string(int32_t status);

/* ---- instruction sets ----
 * "avx512", "avx2", "portable". The best one that the processor has is used, unless the environment variable
 * OPENMINED_INSTRUCTION_SET names another when the library is first called. */
OM_API const char* om_instruction_set(void);
OM_API int32_t om_set_instruction_set(const char* name); /* NULL: the best one. Not while another call is running. */
OM_API int32_t om_has_instruction_set(const char* name); /* 1 or 0 */

/* ---- networks ----
 * An actor-critic for vectors: layers of linear and swish, then linear heads.
 *
 * `offsets` says where each tensor begins among the parameters, in this order: weight [outputs, inputs] and bias
 * [outputs] of each layer of the actor; if continuous > 0 weight, bias and log sigma [continuous] of that head; weight
 * and bias of each branch; unless the critic is shared, weight and bias of each of its layers; weight and bias of each
 * signal's value head (1 output). */
typedef struct om_network_description {
    int64_t observation_count;         /* 1 or more */
    const int64_t* observation_sizes;  /* [observation_count], 1 or more each; their sum is `inputs` below */
    int64_t layer_count;               /* 1 to 64 */
    const int64_t* layer_widths;       /* [layer_count], of the actor and of a critic of its own */
    int64_t continuous;                /* dimensions, 0 or more */
    int64_t branch_count;              /* 0 or more; at least one of the two is above 0 */
    const int64_t* branch_sizes;       /* [branch_count] */
    int64_t signals;                   /* values, 1 or more */
    int64_t shared_critic;             /* 1: the value heads read the actor's last layer */
    int64_t parameter_count;           /* length of the parameters */
    int64_t offset_count;
    const int64_t* offsets;            /* [offset_count] */
} om_network_description;

typedef struct om_network om_network;

OM_API int32_t om_network_create(const om_network_description* description, om_network** network);
OM_API void om_network_destroy(om_network* network); /* NULL is allowed */

/* ---- acting ----
 * Observations become inputs: clamp((x - mean) * scale, -5, 5), or as they are where `means` is NULL.
 * What is NULL among the results is not computed; without log_probs the actor is left out, without values the critic.
 *
 * Random numbers: Philox4x32-10 with key `seed`. Word i of stream s of call c is word i % 4 of the block with counter
 * (i / 4, s, c's lower half, c's upper half). Stream 0 gives the normals (agent by agent, Box-Muller over pairs of
 * words), stream 1 one uniform number for each agent and branch, with which the branch's probabilities are inverted. */
typedef struct om_act_arguments {
    int64_t agents;
    const float* const* observations;  /* [observation_count] of [agents, observation size] */
    const float* const* means;         /* [observation_count] of [observation size], or NULL */
    const float* const* scales;        /* the same: 1 / standard deviation */
    const float* parameters;
    const uint8_t* allowed;            /* [agents, sum of branches], 0: forbidden; NULL allows everything */
    uint64_t seed, call;
    int64_t deterministic;             /* 1: the mean and the most probable action */
    int64_t threads;
    float* continuous;                 /* [agents, continuous]: as sampled */
    float* continuous_for_player;      /* [agents, continuous]: clamp(a, -3, 3) / 3 */
    int64_t* discrete;                 /* [agents, branches] */
    int32_t* discrete_for_player;      /* [agents, branches] */
    float* log_probs;                  /* [agents, continuous + branches] */
    float* values;                     /* [agents, signals] */
    float* entropy;                    /* [1]: mean over dimensions plus sum over branches, mean over agents */
} om_act_arguments;

OM_API int32_t om_act(om_network* network, const om_act_arguments* arguments);

/* ---- generalised advantage estimation ----
 * Trajectories lie one after the other in `rewards`, `values` [steps, signals] and the results; `lengths`
 * [trajectories] sum to steps, `next_values` [trajectories, signals] is what follows each (0 where it ended), `gammas`
 * [signals]. advantages: of delta = reward + gamma * next value - value, discounted by gamma * lambda;
 * returns: advantage + value. */
OM_API int32_t om_gae(int64_t steps, int64_t trajectories, int64_t signals, const float* rewards, const float* values,
                      const int64_t* lengths, const float* next_values, const double* gammas, double lambda,
                      float* advantages, float* returns);

/* ---- learning ---- */
typedef struct om_ppo_batch {
    int64_t steps;
    const float* inputs;       /* [steps, inputs], normalised already */
    const float* continuous;   /* [steps, continuous] */
    const int64_t* discrete;   /* [steps, branches] */
    const float* log_probs;    /* [steps, continuous + branches], of the policy that acted */
    const uint8_t* allowed;    /* [steps, sum of branches], or NULL */
    const float* advantages;   /* [steps] */
    const float* returns;      /* [steps, signals] */
    const float* values;       /* [steps, signals], of the critic that was there before */
} om_ppo_batch;

typedef struct om_ppo_settings {
    double learning_rate, epsilon, beta; /* Adam's step; clipping; weight of the entropy */
    int64_t value_clipping;              /* 1: the greater of the plain and of the clipped squared error */
    int64_t threads;                     /* 2: the actor beside a critic of its own */
    int64_t batch_size;                  /* steps of a minibatch */
    int64_t minibatches;
    int64_t adam_steps;                  /* taken before this call */
    float* parameters;                   /* [parameter_count], changed */
    float* gradient;                     /* [parameter_count], that of the last minibatch */
    float* moment;                       /* [parameter_count], Adam's running mean of the gradient, changed */
    float* square;                       /* [parameter_count], and of its square, changed; both NULL: no step is taken */
} om_ppo_settings;

/* `order` [minibatches * batch_size]: the steps of each minibatch in turn, through as many epochs as wanted.
 * policy_losses, value_losses [minibatches]: of each minibatch. The results do not depend on the number of threads. */
OM_API int32_t om_ppo_update(om_network* network, const om_ppo_batch* batch, const om_ppo_settings* settings,
                             const int64_t* order, float* policy_losses, float* value_losses);

/* ---- the parts, for tests and measurements ---- */
/* `count` words of a stream, normals or uniform numbers in (0, 1) made of them, as om_act draws them. */
OM_API int32_t om_random_words(uint64_t seed, uint64_t call, uint32_t stream, int64_t count, uint32_t* words);
OM_API int32_t om_random_normals(uint64_t seed, uint64_t call, uint32_t stream, int64_t count, float* normals);
OM_API int32_t om_random_uniforms(uint64_t seed, uint64_t call, uint32_t stream, int64_t count, float* uniforms);
/* The Philox4x32-10 block itself: counter [4], key [2], words [4]. */
OM_API int32_t om_philox(const uint32_t* counter, const uint32_t* key, uint32_t* words);
/* out [rows, columns] = left [rows, inner] times right [inner, columns], `times` times over. */
OM_API int32_t om_multiply(int64_t rows, int64_t inner, int64_t columns, const float* left, const float* right,
                           float* out, int64_t times);

#ifdef __cplusplus
}
#endif

#endif
