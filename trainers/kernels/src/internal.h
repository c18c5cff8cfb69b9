// What the parts that are compiled once share.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "network.h"
#include "openmined.h"

namespace openmined {

// The kernels of the instruction set in use.
const Kernels& kernels();

// A block of float32 on the boundary of a cache line, zero at first; grows, never shrinks.
class Workspace {
public:
    Workspace() = default;
    Workspace(const Workspace&) = delete;
    Workspace& operator=(const Workspace&) = delete;
    ~Workspace();
    float* reserve(int64_t floats);  // NULL if there is no memory

private:
    void* block_ = nullptr;
    float* first_ = nullptr;
    int64_t size_ = 0;
};

// Runs `task(0)` ... `task(count - 1)` in up to `threads` threads and returns when all are done. Threads are started
// when they are first needed and then wait for more.
void run_in_threads(int64_t count, int64_t threads, const std::function<void(int64_t)>& task);

void random_normals(uint64_t seed, uint64_t call, uint32_t stream, int64_t count, float* normals);
void random_uniforms(uint64_t seed, uint64_t call, uint32_t stream, int64_t count, float* uniforms);

}  // namespace openmined

// The handle of the C interface.
struct om_network {
    openmined::Network network{};
    std::vector<int64_t> observation_sizes, branch_sizes;
    std::vector<openmined::Dense> dense;
    int64_t parameter_count = 0;
    std::vector<openmined::Workspace> workspaces;  // one a thread
    openmined::Workspace random;
    const openmined::Kernels* made_for = nullptr;  // whose workspaces these are
};
