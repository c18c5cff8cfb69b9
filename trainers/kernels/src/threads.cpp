// A few threads that wait for work. They are never joined: they end with the process.
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "internal.h"

namespace openmined {
namespace {

struct Job {
    const std::function<void(int64_t)>* task;
    int64_t count;
    std::atomic<int64_t> next{0};
    int64_t helpers = 0, running = 0;  // threads that may still join; threads that have

    void work() {
        for (int64_t index = next.fetch_add(1); index < count; index = next.fetch_add(1)) (*task)(index);
    }
};

struct Pool {
    std::mutex mutex;
    std::condition_variable wanted, done;
    std::mutex one_job;  // callers with several threads of their own take turns
    Job* job = nullptr;
    int64_t threads = 0;

    void serve() {
        std::unique_lock<std::mutex> lock(mutex);
        for (;;) {
            wanted.wait(lock, [this] { return job != nullptr && job->helpers > 0; });
            Job* mine = job;
            mine->helpers--;
            mine->running++;
            lock.unlock();
            mine->work();
            lock.lock();
            if (--mine->running == 0) done.notify_all();
        }
    }
};

Pool& pool() {
    static Pool* const made = new Pool;  // never destroyed: its threads outlive everything
    return *made;
}

}  // namespace

void run_in_threads(int64_t count, int64_t threads, const std::function<void(int64_t)>& task) {
    const int64_t helpers = (threads < count ? threads : count) - 1;
    if (helpers < 1) {
        for (int64_t index = 0; index < count; index++) task(index);
        return;
    }
    Pool& shared = pool();
    const std::lock_guard<std::mutex> turn(shared.one_job);
    Job job;
    job.task = &task;
    job.count = count;
    {
        const std::lock_guard<std::mutex> lock(shared.mutex);
        for (; shared.threads < helpers; shared.threads++) {
            try {
                std::thread([&shared] { shared.serve(); }).detach();
            } catch (...) {
                break;  // no more threads to be had: those that are there, and this one, do the work
            }
        }
        job.helpers = helpers;
        shared.job = &job;
    }
    shared.wanted.notify_all();
    job.work();
    std::unique_lock<std::mutex> lock(shared.mutex);
    job.helpers = 0;
    shared.job = nullptr;
    shared.done.wait(lock, [&job] { return job.running == 0; });
}

}  // namespace openmined
