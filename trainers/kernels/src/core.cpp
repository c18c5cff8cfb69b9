// The C interface: looks at what it is given, then calls the kernels of the instruction set in use.
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>

#include "internal.h"

namespace openmined {
namespace {

constexpr int64_t ACT_ROWS = 4 * CHUNK_ROWS;  // agents of one task of `om_act`: fewer are not worth another thread

bool processor_has(const Kernels& kernels) {
#if defined(__x86_64__) || defined(_M_X64)
    __builtin_cpu_init();
#if defined(OPENMINED_AVX512_BY_AVX2)  // a build for tests: 16 lanes for processors that have 8
    if (&kernels == &kernels_avx512) return processor_has(kernels_avx2);
#endif
    if (&kernels == &kernels_avx512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
    if (&kernels == &kernels_avx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return &kernels == &kernels_portable;
}

const Kernels* const ALL[] = {
#if defined(__x86_64__) || defined(_M_X64)
    &kernels_avx512,
    &kernels_avx2,
#endif
    &kernels_portable,
};

const Kernels* find(const char* name) {
    for (const Kernels* kernels : ALL)
        if ((name == nullptr || std::strcmp(name, kernels->name) == 0) && processor_has(*kernels)) return kernels;
    return nullptr;
}

std::atomic<const Kernels*> chosen{nullptr};

bool whole_number_of_agents(int64_t agents) { return agents >= 0 && agents < (int64_t{1} << 40); }

}  // namespace

const Kernels& kernels() {
    const Kernels* current = chosen.load();
    if (current == nullptr) {
        current = find(std::getenv("OPENMINED_INSTRUCTION_SET"));
        if (current == nullptr) current = find(nullptr);
        chosen.store(current);
    }
    return *current;
}

Workspace::~Workspace() { std::free(block_); }

float* Workspace::reserve(int64_t floats) {
    if (floats > size_) {
        std::free(block_);
        first_ = nullptr;
        size_ = 0;
        block_ = std::calloc(static_cast<size_t>(floats) + 32, sizeof(float));
        if (block_ == nullptr) return nullptr;
        const uintptr_t address = reinterpret_cast<uintptr_t>(block_);
        first_ = reinterpret_cast<float*>((address + 63) / 64 * 64);
        size_ = floats;
    }
    return first_;
}

}  // namespace openmined

using namespace openmined;

int32_t om_abi_version(void) { return OM_ABI_VERSION; }

const char* om_error_string(int32_t status) {
    switch (status) {
        case OM_OK: return "no error";
        case OM_NULL_POINTER: return "an array or structure that is needed was not given";
        case OM_BAD_SIZE: return "a size is below its least value, or sizes do not fit together";
        case OM_BAD_OFFSET: return "a parameter would lie outside of the parameters";
        case OM_BAD_INDEX: return "an entry of `order` is no step of the batch";
        case OM_BAD_ACTION: return "a discrete action is outside of its branch";
        case OM_BAD_NUMBER: return "a setting is not a number or out of range";
        case OM_NO_MEMORY: return "there is not enough memory";
        case OM_NOT_SUPPORTED: return "this processor lacks the instruction set, or there is none of that name";
        default: return "unknown error";
    }
}

const char* om_instruction_set(void) { return kernels().name; }

int32_t om_has_instruction_set(const char* name) { return name != nullptr && find(name) != nullptr; }

int32_t om_set_instruction_set(const char* name) {
    const Kernels* wanted = find(name);
    if (wanted == nullptr) return OM_NOT_SUPPORTED;
    chosen.store(wanted);
    return OM_OK;
}

int32_t om_act(om_network* handle, const om_act_arguments* arguments) {
    if (handle == nullptr || arguments == nullptr) return OM_NULL_POINTER;
    const Network& network = handle->network;
    const om_act_arguments& a = *arguments;
    if (!whole_number_of_agents(a.agents) || a.threads < 1) return OM_BAD_SIZE;
    if (a.observations == nullptr || a.parameters == nullptr) return OM_NULL_POINTER;
    if ((a.means == nullptr) != (a.scales == nullptr)) return OM_NULL_POINTER;
    for (int64_t index = 0; index < network.observation_count; index++) {
        if (a.observations[index] == nullptr && a.agents > 0) return OM_NULL_POINTER;
        if (a.means != nullptr && (a.means[index] == nullptr || a.scales[index] == nullptr)) return OM_NULL_POINTER;
    }
    const bool acting = a.log_probs != nullptr;
    if (!acting && (a.continuous != nullptr || a.continuous_for_player != nullptr || a.discrete != nullptr ||
                    a.discrete_for_player != nullptr || a.entropy != nullptr))
        return OM_NULL_POINTER;
    const Kernels& chosen_kernels = kernels();
    const bool drawing = acting && a.deterministic == 0;
    const int64_t normals = drawing ? a.agents * network.continuous : 0;
    const int64_t uniforms = drawing ? a.agents * network.branch_count : 0;
    const int64_t tasks = (a.agents + ACT_ROWS - 1) / ACT_ROWS;
    try {
        if (handle->made_for != &chosen_kernels) {
            handle->workspaces = std::vector<Workspace>();
            handle->made_for = &chosen_kernels;
        }
        const int64_t wanted = a.threads > 1 && tasks > 1 ? tasks : 1;
        if (static_cast<int64_t>(handle->workspaces.size()) < wanted)
            handle->workspaces = std::vector<Workspace>(static_cast<size_t>(wanted));
        for (int64_t index = 0; index < wanted; index++)
            if (handle->workspaces[static_cast<size_t>(index)].reserve(chosen_kernels.act_workspace(network)) == nullptr)
                return OM_NO_MEMORY;
        float* drawn = handle->random.reserve(normals + uniforms + 1);
        if (drawn == nullptr) return OM_NO_MEMORY;
        random_normals(a.seed, a.call, 0, normals, drawn);
        random_uniforms(a.seed, a.call, 1, uniforms, drawn + normals);
        std::vector<double> entropies(static_cast<size_t>(tasks));
        run_in_threads(tasks, a.threads, [&](int64_t index) {
            const int64_t first = index * ACT_ROWS, end = first + ACT_ROWS < a.agents ? first + ACT_ROWS : a.agents;
            Workspace& workspace = handle->workspaces[static_cast<size_t>(wanted > 1 ? index : 0)];
            ActTask task = {&network, &a, drawn, drawn + normals, first, end, 0.0, workspace.reserve(0)};
            chosen_kernels.act(task);
            entropies[static_cast<size_t>(index)] = task.entropy;
        });
        if (a.entropy != nullptr) {
            double total = 0.0;
            for (double entropy : entropies) total += entropy;
            total = a.agents > 0 ? total / static_cast<double>(a.agents) : 0.0;
            for (int64_t dimension = 0; dimension < network.continuous; dimension++) {
                const double sigma = std::exp(static_cast<double>(a.parameters[network.log_sigma + dimension]));
                total += 0.5 * std::log(17.079468445347132 * sigma * sigma + 1e-7) /  // 2 pi e; ML-Agents' guard
                         static_cast<double>(network.continuous);
            }
            *a.entropy = static_cast<float>(total);
        }
    } catch (const std::bad_alloc&) {
        return OM_NO_MEMORY;
    }
    return OM_OK;
}

static int32_t check_update(const om_network& handle, const om_ppo_batch& batch, const om_ppo_settings& settings,
                            const int64_t* order) {
    const Network& network = handle.network;
    if (batch.inputs == nullptr || batch.log_probs == nullptr || batch.advantages == nullptr ||
        batch.returns == nullptr || batch.values == nullptr || settings.parameters == nullptr ||
        settings.gradient == nullptr || (settings.moment == nullptr) != (settings.square == nullptr))
        return OM_NULL_POINTER;
    if (network.continuous > 0 && batch.continuous == nullptr) return OM_NULL_POINTER;
    if (network.branch_count > 0 && batch.discrete == nullptr) return OM_NULL_POINTER;
    if (batch.steps < 1 || settings.batch_size < 1 || settings.minibatches < 0 || settings.threads < 1 ||
        settings.adam_steps < 0)
        return OM_BAD_SIZE;
    if (!std::isfinite(settings.learning_rate) || !std::isfinite(settings.beta) || !(settings.epsilon >= 0.0) ||
        !std::isfinite(settings.epsilon))
        return OM_BAD_NUMBER;
    for (int64_t index = 0; index < settings.minibatches * settings.batch_size; index++)
        if (order[index] < 0 || order[index] >= batch.steps) return OM_BAD_INDEX;
    for (int64_t step = 0; step < batch.steps && network.branch_count > 0; step++)
        for (int64_t branch = 0; branch < network.branch_count; branch++) {
            const int64_t action = batch.discrete[step * network.branch_count + branch];
            if (action < 0 || action >= network.branch_sizes[branch]) return OM_BAD_ACTION;
        }
    return OM_OK;
}

int32_t om_ppo_update(om_network* handle, const om_ppo_batch* batch, const om_ppo_settings* settings,
                      const int64_t* order, float* policy_losses, float* value_losses) {
    if (handle == nullptr || batch == nullptr || settings == nullptr) return OM_NULL_POINTER;
    if (settings->minibatches > 0 && (order == nullptr || policy_losses == nullptr || value_losses == nullptr))
        return OM_NULL_POINTER;
    const int32_t status = check_update(*handle, *batch, *settings, order);
    if (status != OM_OK) return status;
    const Network& network = handle->network;
    const Kernels& chosen_kernels = kernels();
    try {
        if (handle->made_for != &chosen_kernels || handle->workspaces.size() < 2) {
            handle->workspaces = std::vector<Workspace>(2);
            handle->made_for = &chosen_kernels;
        }
        const Part parts[2] = {network.shared ? Part::both : Part::actor, Part::critic};
        const int64_t count = network.shared ? 1 : 2;
        float* workspaces[2] = {nullptr, nullptr};
        for (int64_t index = 0; index < count; index++) {
            const int64_t floats = chosen_kernels.train_workspace(network, parts[index]);
            workspaces[index] = handle->workspaces[static_cast<size_t>(index)].reserve(floats);
            if (workspaces[index] == nullptr) return OM_NO_MEMORY;
        }
        run_in_threads(count, settings->threads, [&](int64_t index) {
            chosen_kernels.train(
                {&network, parts[index], batch, settings, order, policy_losses, value_losses, workspaces[index]});
        });
    } catch (const std::bad_alloc&) {
        return OM_NO_MEMORY;
    }
    return OM_OK;
}

int32_t om_multiply(int64_t rows, int64_t inner, int64_t columns, const float* left, const float* right, float* out,
                    int64_t times) {
    if (left == nullptr || right == nullptr || out == nullptr) return OM_NULL_POINTER;
    if (rows < 1 || inner < 1 || columns < 1 || times < 0) return OM_BAD_SIZE;
    Workspace workspace;
    float* block = workspace.reserve(kernels().multiply_workspace(rows, inner, columns));
    if (block == nullptr) return OM_NO_MEMORY;
    for (int64_t index = 0; index < times; index++)
        kernels().multiply(rows, inner, columns, left, right, out, block);
    return OM_OK;
}
