// Boost.Interprocess, measured by itself: see guest.rs for what is said and answered.
#include <boost/interprocess/managed_shared_memory.hpp>
#include <boost/interprocess/sync/file_lock.hpp>
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <boost/interprocess/sync/interprocess_semaphore.hpp>
#include <boost/interprocess/sync/named_mutex.hpp>
#include <boost/interprocess/sync/named_semaphore.hpp>
#include <chrono>
#include <fstream>
#include <functional>
#include <iostream>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

using namespace boost::interprocess;
using Clock = std::chrono::steady_clock;

// n times, with a critical section of which the compiler knows nothing.
template <class Lock, class Unlock> long long timed(long long n, Lock lock, Unlock unlock) {
    auto start = Clock::now();
    for (long long i = 0; i < n; i++) {
        lock();
        asm volatile("" ::: "memory");
        unlock();
    }
    return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count();
}

int main(int, char **argv) {
    std::string dir = argv[1];
    std::string name = "xsem-bench-" + std::to_string(getpid());
    std::ofstream(dir + "/boost.lock").put('.');

    shared_memory_object::remove(name.c_str());
    managed_shared_memory memory(create_only, name.c_str(), 65536);
    auto *mutex = memory.construct<interprocess_mutex>("mutex")();
    auto *semaphore = memory.construct<interprocess_semaphore>("semaphore")(1);
    named_mutex named(open_or_create, (name + "-mutex").c_str());
    named_semaphore counted(open_or_create, (name + "-semaphore").c_str(), 1);
    file_lock file((dir + "/boost.lock").c_str());
    // Everything is open and mapped: nothing is left behind, however this process ends.
    shared_memory_object::remove(name.c_str());
    named_mutex::remove((name + "-mutex").c_str());
    named_semaphore::remove((name + "-semaphore").c_str());

    std::vector<std::pair<std::string, std::function<long long(long long)>>> all = {
        {"Boost interprocess_mutex", [&](long long n) { return timed(n, [&] { mutex->lock(); }, [&] { mutex->unlock(); }); }},
        {"Boost interprocess_semaphore",
         [&](long long n) { return timed(n, [&] { semaphore->wait(); }, [&] { semaphore->post(); }); }},
        {"Boost named_mutex", [&](long long n) { return timed(n, [&] { named.lock(); }, [&] { named.unlock(); }); }},
        {"Boost named_semaphore", [&](long long n) { return timed(n, [&] { counted.wait(); }, [&] { counted.post(); }); }},
        {"Boost file_lock", [&](long long n) { return timed(n, [&] { file.lock(); }, [&] { file.unlock(); }); }},
    };
    for (auto &one : all) std::cout << "+" << one.first << "\n";
    std::cout << "." << std::endl;
    size_t which;
    long long n;
    while (std::cin >> which >> n) std::cout << all[which].second(n) << std::endl;
}
