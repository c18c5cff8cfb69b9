// Runs kernels on the CPU: each thread of a block is a fiber, blocks follow one another.
#include <algorithm>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "cuda_runtime.h"

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

// The bounds of the section with all static shared memory; the linker sets them. One variable is always there.
extern unsigned char __start_emulated_shared[], __stop_emulated_shared[];
__attribute__((section("emulated_shared"), used)) static unsigned char section_exists[16];

namespace emulation {
namespace {

// ---- fibers ----

#if defined(__x86_64__)
// Saves the registers that a call preserves on this stack, its top in *from, and takes up the stack `to`.
extern "C" void emulation_switch(void** from, void* to);
asm(R"(
.text
.globl emulation_switch
.hidden emulation_switch
.type emulation_switch, @function
emulation_switch:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
.size emulation_switch, .-emulation_switch
)");
#endif

constexpr size_t STACK = 128 * 1024;
void fiber_main();

class Fiber {
public:
#if defined(__x86_64__)
    Fiber() : stack_(new unsigned char[STACK]) {
        void** top = reinterpret_cast<void**>((reinterpret_cast<uintptr_t>(stack_.get()) + STACK) & ~uintptr_t{15});
        *--top = nullptr;  // so that the stack is aligned as after a call
        *--top = reinterpret_cast<void*>(fiber_main);
        for (int saved = 0; saved < 6; saved++) *--top = nullptr;
        own_ = top;
    }
    void enter() { emulation_switch(&callers_, own_); }
    void leave() { emulation_switch(&own_, callers_); }

private:
    void *own_ = nullptr, *callers_ = nullptr;
#else
    Fiber() : stack_(new unsigned char[STACK]) {
        getcontext(&own_);
        own_.uc_stack.ss_sp = stack_.get();
        own_.uc_stack.ss_size = STACK;
        makecontext(&own_, fiber_main, 0);
    }
    void enter() { swapcontext(&callers_, &own_); }
    void leave() { swapcontext(&own_, &callers_); }

private:
    ucontext_t own_, callers_;
#endif
    std::unique_ptr<unsigned char[]> stack_;
};

// ---- the state of the block that runs ----

enum class State { ready, at_barrier, in_exchange, done };

struct Thread {
    State state = State::ready;
    Fiber* fiber = nullptr;
    const char* file = nullptr;  // where it waits
    int line = 0;
    Exchange kind = Exchange::nothing;
    unsigned mask = 0;
    int source = 0;
    uint64_t number = 0, received = 0;
};

std::vector<Thread> threads;
std::vector<std::unique_ptr<Fiber>> fibers;
std::vector<Fiber*> idle;
Fiber* running_fiber = nullptr;
size_t running = 0;
const std::function<void()>* body = nullptr;
std::unique_ptr<unsigned char[]> dynamic;
std::string failure;  // "" while all is well

uint64_t schedule = 0, random_state = 0, launches = 0;
void* last_stream = nullptr;
std::string skipped_file, error_text;
int skipped_line = 0;
cudaError_t last_error = cudaSuccess;

uint64_t random_number() {  // splitmix64
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

// 0 ... count - 1: forwards, backwards or shuffled.
void arrange(std::vector<size_t>& order, size_t count) {
    order.resize(count);
    std::iota(order.begin(), order.end(), size_t{0});
    if (schedule == 1) std::reverse(order.begin(), order.end());
    if (schedule < 2) return;
    for (size_t left = count; left > 1; left--) std::swap(order[left - 1], order[random_number() % left]);
}

bool is_file(const char* path, const std::string& name) {
    const std::string whole = path;
    return whole.size() >= name.size() && whole.compare(whole.size() - name.size(), name.size(), name) == 0;
}

bool same_place(const Thread& a, const Thread& b) { return a.line == b.line && strcmp(a.file, b.file) == 0; }

std::string place(const Thread& thread) { return std::string(thread.file) + ":" + std::to_string(thread.line); }

void fail(const std::string& what) {
    if (failure.empty()) failure = what;
}

void fiber_main() {
    for (;;) {
        (*body)();
        threads[running].state = State::done;
        idle.push_back(running_fiber);
        running_fiber->leave();
    }
}

void suspend(State state, const char* file, int line) {
    Thread& thread = threads[running];
    thread.state = state;
    thread.file = file;
    thread.line = line;
    thread.fiber->leave();
}

void resume(size_t index) {
    Thread& thread = threads[index];
    if (thread.fiber == nullptr) {
        if (idle.empty()) {
            fibers.push_back(std::make_unique<Fiber>());
            idle.push_back(fibers.back().get());
        }
        thread.fiber = idle.back();
        idle.pop_back();
    }
    running = index;
    running_fiber = thread.fiber;
    const unsigned flat = static_cast<unsigned>(index);
    threadIdx = {flat % blockDim.x, flat / blockDim.x % blockDim.y, flat / (blockDim.x * blockDim.y)};
    thread.fiber->enter();
}

// Hands out the numbers once all lanes of the mask have come to the same exchange.
void finish_exchange(size_t warp, unsigned mask) {
    Thread* lanes = &threads[warp * warpSize];
    const Thread* first = nullptr;
    unsigned truths = 0;
    for (int index = 0; index < warpSize; index++) {
        if ((mask >> index & 1) == 0) continue;
        const Thread& thread = lanes[index];
        if (thread.state != State::in_exchange) return;
        if (first == nullptr) first = &thread;
        if (thread.mask != mask || thread.kind != first->kind || !same_place(thread, *first))
            return fail("lanes of a warp wait at different exchanges: " + place(*first) + " and " + place(thread));
        if (thread.number != 0) truths |= 1u << index;
    }
    for (int index = 0; index < warpSize; index++) {
        if ((mask >> index & 1) == 0) continue;
        Thread& thread = lanes[index];
        thread.received = truths;
        if (thread.kind == Exchange::shuffle) {
            if (thread.source < 0 || thread.source >= warpSize || (mask >> thread.source & 1) == 0)
                return fail("a lane asks for one that takes no part: " + place(thread));
            thread.received = lanes[thread.source].number;
        }
        thread.state = State::ready;
    }
}

// All threads wait or are done: lets those at the barrier go on, or says why nothing can.
void release_barrier() {
    const Thread* waiting = nullptr;
    for (const Thread& thread : threads) {
        if (thread.state == State::in_exchange)
            return fail("lanes of a warp do not come to the exchange that the others wait at: " + place(thread));
        if (thread.state == State::at_barrier) waiting = &thread;
    }
    for (const Thread& thread : threads) {
        if (thread.state == State::done)
            return fail("a thread has ended while others wait at the barrier: " + place(*waiting));
        if (!same_place(thread, *waiting))
            return fail("threads wait at different barriers: " + place(*waiting) + " and " + place(thread));
    }
    for (Thread& thread : threads) thread.state = State::ready;
}

__attribute__((no_sanitize("address"))) void fill(unsigned char* from, const unsigned char* to) {
    for (volatile unsigned char* at = from; at < to; at++) *at = 0xff;  // NaN in any floating-point type
}

// Lets the ready lanes of a warp run, each up to where it waits next; whether there was one.
bool run_warp(size_t warp) {
    const size_t first = warp * warpSize, count = std::min<size_t>(warpSize, threads.size() - first);
    static std::vector<size_t> order;
    arrange(order, count);
    bool moved = false;
    for (size_t lane : order) {
        if (threads[first + lane].state != State::ready || !failure.empty()) continue;
        moved = true;
        resume(first + lane);
    }
    return moved;
}

void run_block(size_t count, size_t shared) {
    threads.assign(count, Thread());
    fill(__start_emulated_shared, __stop_emulated_shared);
    dynamic.reset(new unsigned char[shared]);
    memset(dynamic.get(), 0xff, shared);
    // Of a block on a GPU one warp may be far ahead of the others, or all may go side by side.
    const bool side_by_side = schedule >= 2 && schedule % 2 == 1;
    std::vector<size_t> order;
    for (bool left = true; left && failure.empty();) {
        bool moved = false;
        left = false;
        arrange(order, (count + warpSize - 1) / warpSize);
        for (size_t warp : order) {
            while (run_warp(warp)) {
                moved = true;
                if (side_by_side) break;
            }
        }
        for (const Thread& thread : threads) left = left || thread.state != State::done;
        if (left && !moved && failure.empty()) release_barrier();
    }
}

bool launchable(dim3 grid, dim3 block, size_t shared) {
    const uint64_t count = uint64_t{block.x} * block.y * block.z;
    return grid.x > 0 && grid.x <= 0x7fffffffu && grid.y > 0 && grid.y <= 65535 && grid.z > 0 && grid.z <= 65535 &&
           block.z <= 64 && count > 0 && count <= 1024 && shared <= 48 * 1024;
}

}  // namespace

int lane() { return static_cast<int>(running % warpSize); }

void* dynamic_shared() { return dynamic.get(); }

void barrier(const char* file, int line) {
    if (line == skipped_line && is_file(file, skipped_file)) return;
    suspend(State::at_barrier, file, line);
}

uint64_t exchange(Exchange kind, unsigned mask, uint64_t number, int source, const char* file, int line) {
    Thread& thread = threads[running];
    const size_t warp = running / warpSize;
    const size_t lanes = std::min<size_t>(warpSize, threads.size() - warp * warpSize);
    if ((mask >> lane() & 1) == 0 || (lanes < 32 && mask >> lanes != 0))
        fail("the mask of an exchange leaves out its own lane or names one that is not there: " + std::string(file) +
             ":" + std::to_string(line));
    thread.kind = kind;
    thread.mask = mask;
    thread.number = number;
    thread.source = source;
    thread.state = State::in_exchange;
    thread.file = file;
    thread.line = line;
    if (failure.empty()) finish_exchange(warp, mask);
    thread.fiber->leave();
    return thread.received;
}

void launch(const char* name, dim3 grid, dim3 block, size_t shared, void* stream, const std::function<void()>& thread) {
    launches++;
    last_stream = stream;
    if (!launchable(grid, block, shared)) {
        last_error = 9;
        error_text = std::string(name) + ": invalid configuration argument";
        return;
    }
    random_state = schedule;
    failure.clear();
    body = &thread;
    gridDim = grid;
    blockDim = block;
    std::vector<size_t> order;
    arrange(order, size_t{grid.x} * grid.y * grid.z);
    for (size_t index : order) {
        const unsigned flat = static_cast<unsigned>(index);
        blockIdx = {flat % grid.x, flat / grid.x % grid.y, flat / (grid.x * grid.y)};
        run_block(size_t{block.x} * block.y * block.z, shared);
        if (!failure.empty()) break;
    }
    dynamic.reset();
    if (failure.empty()) return;
    threads.clear();  // with fibers that stopped halfway
    idle.clear();
    fibers.clear();
    last_error = 719;
    error_text = std::string(name) + ": " + failure;
}

}  // namespace emulation

cudaError_t cudaGetLastError() {
    const cudaError_t error = emulation::last_error;
    emulation::last_error = cudaSuccess;
    return error;
}

const char* cudaGetErrorString(cudaError_t code) {
    return code == cudaSuccess ? "no error" : code == cudaErrorInvalidValue ? "invalid argument"
                                                                            : emulation::error_text.c_str();
}

#define EMULATION_API extern "C" __attribute__((visibility("default")))

// The order of threads and blocks: 0 forwards, 1 backwards, any other number another shuffling of it. With 3, 5, 7 and
// so on the warps go side by side, else each goes on until it waits for the others.
EMULATION_API void emulation_schedule(uint64_t schedule) { emulation::schedule = schedule; }
// Leaves out the barrier in this line of the file, as if it were not written there; line 0: none.
EMULATION_API void emulation_skip_barrier(const char* file, int line) {
    emulation::skipped_file = std::string("/") + file;
    emulation::skipped_line = line;
}
EMULATION_API uint64_t emulation_launches() { return emulation::launches; }
EMULATION_API void* emulation_last_stream() { return emulation::last_stream; }
