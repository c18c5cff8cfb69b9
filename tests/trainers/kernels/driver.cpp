// Runs every function of the C interface on sizes that leave remainders, and on wrong arguments. Built with sanitizers by
// test_sanitizers.py: every array is exactly as long as the header says, so that one number too far is noticed.
// With the argument "update" it repeats one update of the usual network, for a profiler; with "threads" several threads
// work at once; with "show" it prints sums of the results, which another processor's are held against.
#include "openmined.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

namespace {

thread_local uint32_t state = 1;
bool showing = false;

float number() {  // in -1 ... 1
    state = state * 1664525u + 1013904223u;
    return static_cast<float>(state >> 8) / 8388608.0f - 1.0f;
}

// On the heap and of exactly this length.
template <typename T>
struct Array {
    std::unique_ptr<T[]> values;
    int64_t size;
    explicit Array(int64_t count) : values(new T[static_cast<size_t>(count)]()), size(count) {}
    operator T*() { return values.get(); }
    T& operator[](int64_t index) { return values[static_cast<size_t>(index)]; }
};

Array<float> numbers(int64_t count) {
    Array<float> made(count);
    for (int64_t index = 0; index < count; index++) made[index] = number();
    return made;
}

void expect(bool true_here, const char* what, int line) {
    if (!true_here) {
        std::printf("line %d: not true: %s\n", line, what);
        std::exit(1);
    }
}
#define EXPECT(condition) expect((condition), #condition, __LINE__)

void show(const char* what, const float* values, int64_t count) {
    if (!showing) return;
    double sum = 0.0, size = 0.0;
    for (int64_t index = 0; index < count; index++) {
        sum += values[index] * static_cast<double>(index % 7 + 1);
        size += std::fabs(values[index]) * static_cast<double>(index % 7 + 1);
    }
    std::printf("%s %lld %.9g %.9g\n", what, static_cast<long long>(count), sum, size);
}

struct Shape {
    std::vector<int64_t> observations, widths;
    int64_t continuous;
    std::vector<int64_t> branches;
    int64_t signals, shared;

    int64_t inputs() const {
        int64_t total = 0;
        for (int64_t size : observations) total += size;
        return total;
    }
    int64_t logits() const {
        int64_t total = 0;
        for (int64_t size : branches) total += size;
        return total;
    }
};

struct Made {
    om_network* network = nullptr;
    std::vector<int64_t> offsets;
    int64_t parameters = 0;

    explicit Made(const Shape& shape) {
        layers(shape);
        const int64_t width = shape.widths.back();
        if (shape.continuous > 0) {
            dense(width, shape.continuous);
            tensor(shape.continuous);
        }
        for (int64_t size : shape.branches) dense(width, size);
        if (shape.shared == 0) layers(shape);
        for (int64_t signal = 0; signal < shape.signals; signal++) dense(width, 1);
        om_network_description description = describe(shape);
        EXPECT(om_network_create(&description, &network) == OM_OK);
        description.parameter_count--;
        om_network* none = nullptr;
        EXPECT(om_network_create(&description, &none) == OM_BAD_OFFSET && none == nullptr);
        description = describe(shape);
        description.offset_count--;
        EXPECT(om_network_create(&description, &none) == OM_BAD_SIZE);
        description = describe(shape);
        description.layer_count = 0;
        EXPECT(om_network_create(&description, &none) == OM_BAD_SIZE);
        description.layer_widths = nullptr;
        EXPECT(om_network_create(&description, &none) == OM_NULL_POINTER);
    }
    ~Made() { om_network_destroy(network); }

    om_network_description describe(const Shape& shape) const {
        return {static_cast<int64_t>(shape.observations.size()),
                shape.observations.data(),
                static_cast<int64_t>(shape.widths.size()),
                shape.widths.data(),
                shape.continuous,
                static_cast<int64_t>(shape.branches.size()),
                shape.branches.data(),
                shape.signals,
                shape.shared,
                parameters,
                static_cast<int64_t>(offsets.size()),
                offsets.data()};
    }
    void tensor(int64_t size) {
        offsets.push_back(parameters);
        parameters += size;
    }
    void dense(int64_t inputs, int64_t outputs) {
        tensor(inputs * outputs);
        tensor(outputs);
    }
    void layers(const Shape& shape) {
        int64_t inputs = shape.inputs();
        for (int64_t width : shape.widths) {
            dense(inputs, width);
            inputs = width;
        }
    }
};

void act(const Shape& shape, Made& made, int64_t agents, bool deterministic, int64_t threads) {
    Array<float> parameters = numbers(made.parameters);
    std::vector<Array<float>> observations, means, scales;
    std::vector<const float*> at, mean_at, scale_at;
    for (int64_t size : shape.observations) {
        observations.push_back(numbers(agents * size));
        means.push_back(numbers(size));
        scales.push_back(numbers(size));
        at.push_back(observations.back());
        mean_at.push_back(means.back());
        scale_at.push_back(scales.back());
    }
    const int64_t branches = static_cast<int64_t>(shape.branches.size());
    Array<uint8_t> allowed(agents * shape.logits());
    for (int64_t index = 0; index < allowed.size; index++) allowed[index] = number() > 0;
    Array<float> continuous(agents * shape.continuous), player(agents * shape.continuous);
    Array<float> log_probs(agents * (shape.continuous + branches)), values(agents * shape.signals), entropy(1);
    Array<int64_t> discrete(agents * branches);
    Array<int32_t> discrete_player(agents * branches);
    om_act_arguments arguments = {agents,     at.data(), mean_at.data(), scale_at.data(), parameters, allowed,
                                  7,          9,         deterministic,  threads,         continuous, player,
                                  discrete,   discrete_player, log_probs, values,         entropy};
    EXPECT(om_act(made.network, &arguments) == OM_OK);
    show("continuous", continuous, continuous.size);
    show("log_probs", log_probs, log_probs.size);
    show("values", values, values.size);
    show("entropy", entropy, 1);
    for (int64_t index = 0; index < log_probs.size; index++) EXPECT(std::isfinite(log_probs[index]));
    for (int64_t index = 0; index < values.size; index++) EXPECT(std::isfinite(values[index]));
    for (int64_t index = 0; index < discrete.size; index++)
        EXPECT(discrete[index] >= 0 && discrete[index] < shape.branches[static_cast<size_t>(index % branches)]);
    om_act_arguments values_only = {};
    values_only.agents = agents;
    values_only.observations = at.data();
    values_only.parameters = parameters;
    values_only.threads = threads;
    values_only.values = values;
    EXPECT(om_act(made.network, &values_only) == OM_OK);
    arguments.observations = nullptr;
    EXPECT(om_act(made.network, &arguments) == OM_NULL_POINTER);
    arguments.agents = -1;
    EXPECT(om_act(made.network, &arguments) == OM_BAD_SIZE);
}

void update(const Shape& shape, Made& made, int64_t steps, int64_t batch_size, int64_t threads, int64_t times = 2) {
    const int64_t branches = static_cast<int64_t>(shape.branches.size()), columns = shape.continuous + branches;
    Array<float> inputs = numbers(steps * shape.inputs()), continuous = numbers(steps * shape.continuous);
    Array<float> log_probs = numbers(steps * columns), advantages = numbers(steps);
    Array<float> returns = numbers(steps * shape.signals), values = numbers(steps * shape.signals);
    Array<int64_t> discrete(steps * branches);
    for (int64_t index = 0; index < discrete.size; index++)
        discrete[index] = shape.branches[static_cast<size_t>(index % branches)] - 1;
    Array<uint8_t> allowed(steps * shape.logits());
    for (int64_t index = 0; index < allowed.size; index++) allowed[index] = number() > 0;
    const int64_t minibatches = times;
    Array<int64_t> order(minibatches * batch_size);
    for (int64_t index = 0; index < order.size; index++) order[index] = index * 7 % steps;
    Array<float> parameters = numbers(made.parameters), gradient(made.parameters), moment(made.parameters);
    Array<float> square(made.parameters), policy_losses(minibatches), value_losses(minibatches);
    for (int64_t index = 0; index < made.parameters; index++) parameters[index] *= 0.1f;
    om_ppo_batch batch = {steps, inputs, continuous, discrete, log_probs, allowed, advantages, returns, values};
    om_ppo_settings settings = {3e-4, 0.2, 5e-3, 1, threads, batch_size, minibatches, 0,
                                parameters, gradient, moment, square};
    EXPECT(om_ppo_update(made.network, &batch, &settings, order, policy_losses, value_losses) == OM_OK);
    show("gradient", gradient, gradient.size);
    show("parameters", parameters, parameters.size);
    show("policy_losses", policy_losses, minibatches);
    show("value_losses", value_losses, minibatches);
    for (int64_t index = 0; index < made.parameters; index++) EXPECT(std::isfinite(parameters[index]));
    for (int64_t index = 0; index < minibatches; index++)
        EXPECT(std::isfinite(policy_losses[index]) && value_losses[index] >= 0);
    order[0] = steps;
    EXPECT(om_ppo_update(made.network, &batch, &settings, order, policy_losses, value_losses) == OM_BAD_INDEX);
    order[0] = 0;
    if (branches > 0) {
        discrete[0] = shape.branches[0];
        EXPECT(om_ppo_update(made.network, &batch, &settings, order, policy_losses, value_losses) == OM_BAD_ACTION);
    }
    settings.learning_rate = NAN;
    EXPECT(om_ppo_update(made.network, &batch, &settings, order, policy_losses, value_losses) != OM_OK);
    settings.batch_size = 0;
    EXPECT(om_ppo_update(made.network, &batch, &settings, order, policy_losses, value_losses) == OM_BAD_SIZE);
    batch.inputs = nullptr;
    EXPECT(om_ppo_update(made.network, &batch, &settings, order, policy_losses, value_losses) == OM_NULL_POINTER);
}

void parts() {
    Array<int64_t> lengths(4);
    lengths[0] = 3;
    lengths[2] = 1;
    lengths[3] = 5;
    Array<float> rewards = numbers(18), values = numbers(18), next_values = numbers(8), advantages(18), returns(18);
    const double gammas[2] = {0.9, 0.5};
    EXPECT(om_gae(9, 4, 2, rewards, values, lengths, next_values, gammas, 0.9, advantages, returns) == OM_OK);
    show("advantages", advantages, 18);
    EXPECT(om_gae(8, 4, 2, rewards, values, lengths, next_values, gammas, 0.9, advantages, returns) == OM_BAD_SIZE);
    EXPECT(om_gae(0, 0, 1, nullptr, nullptr, nullptr, nullptr, gammas, 0.9, nullptr, nullptr) == OM_OK);
    for (int64_t count = 0; count < 10; count++) {
        Array<float> drawn(count);
        Array<uint32_t> words(count);
        EXPECT(om_random_words(1, 2, 3, count, words) == OM_OK);
        EXPECT(om_random_normals(1, 2, 3, count, drawn) == OM_OK);
        show("normals", drawn, count);
        EXPECT(om_random_uniforms(1, 2, 3, count, drawn) == OM_OK);
    }
    for (int64_t rows : {1, 7, 13})
        for (int64_t inner : {1, 5})
            for (int64_t columns : {1, 8, 16, 33}) {
                Array<float> left = numbers(rows * inner), right = numbers(inner * columns), out(rows * columns);
                EXPECT(om_multiply(rows, inner, columns, left, right, out, 2) == OM_OK);
            }
    EXPECT(om_set_instruction_set("none of these") == OM_NOT_SUPPORTED);
    EXPECT(om_abi_version() == OM_ABI_VERSION);
    for (int32_t status = -1; status < 20; status++) EXPECT(std::strlen(om_error_string(status)) > 3);
}

}  // namespace

int main(int count, char** arguments) {
    const Shape usual = {{8}, {128, 128}, 2, {}, 1, 0};
    if (count > 1 && std::strcmp(arguments[1], "update") == 0) {
        Made made(usual);
        update(usual, made, 1000, 64, 1, 20);
        return 0;
    }
    if (count > 1 && std::strcmp(arguments[1], "threads") == 0) {
        std::vector<std::thread> hosts;
        for (int host = 0; host < 3; host++)
            hosts.emplace_back([&usual] {
                Made made(usual);
                act(usual, made, 600, false, 2);
                update(usual, made, 150, 64, 2);
            });
        for (std::thread& host : hosts) host.join();
        std::printf("ok\n");
        return 0;
    }
    showing = count > 1 && std::strcmp(arguments[1], "show") == 0;
    const Shape shapes[] = {
        usual,
        {{5, 3}, {17}, 1, {3, 2}, 2, 1},
        {{1}, {1, 1, 1}, 0, {1}, 1, 0},
        {{33}, {9, 40}, 3, {5}, 3, 0},
        {{3}, {517, 5}, 1, {}, 1, 0},  // weights with long rows are worked on in another order
    };
    for (const char* name : {"avx512", "avx2", "portable"}) {
        if (om_has_instruction_set(name) == 0 || (showing && std::strcmp(name, "portable") != 0)) continue;
        EXPECT(om_set_instruction_set(name) == OM_OK && std::strcmp(om_instruction_set(), name) == 0);
        for (const Shape& shape : shapes) {
            Made made(shape);
            for (int64_t agents : {0, 1, 3, 5, 17, 600}) act(shape, made, agents, agents % 2 == 0, 1 + agents % 2);
            act(shape, made, 600, false, 2);
            for (int64_t size : {1, 3, 17, 64, 129}) update(shape, made, 150, size, 1 + size % 2);
        }
        parts();
    }
    std::printf("ok\n");
    return 0;
}
