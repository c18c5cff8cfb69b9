// Asks the library what record_calls.py has written down, whatever the processor: replay FILE_OF_CALLS FILE_OF_RESULTS.
// "headers.h" includes all headers of the library, "functions.h" names its functions as FUNCTION(name).
#include "headers.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

struct Value {
    int64_t whole = 0;
    double number = 0.0;
    void* pointer = nullptr;
};

std::map<std::string, std::function<int32_t(std::vector<Value>&)>> functions;

template <typename T>
T convert(Value& value) {
    if constexpr (std::is_pointer_v<T>)
        return reinterpret_cast<T>(value.pointer);
    else if constexpr (std::is_floating_point_v<T>)
        return value.number;
    else
        return static_cast<T>(value.whole);
}

template <typename... Arguments, size_t... Index>
void add(const char* name, int32_t (*function)(Arguments...), std::index_sequence<Index...>) {
    functions[name] = [=](std::vector<Value>& values) {
        if (values.size() != sizeof...(Arguments)) std::abort();
        return function(convert<Arguments>(values[Index])...);
    };
}

template <typename Result, typename... Arguments>
void add(const char* name, Result (*function)(Arguments...)) {
    if constexpr (std::is_same_v<Result, int32_t> && sizeof...(Arguments) > 0)
        add(name, function, std::index_sequence_for<Arguments...>());
}

struct Reader {
    std::FILE* file;
    bool bytes(void* to, size_t count) { return std::fread(to, 1, count, file) == count; }
    int64_t word() {
        int64_t value = 0;
        if (!bytes(&value, sizeof value)) std::abort();
        return value;
    }
};

struct Address {
    size_t at;
    int64_t block, offset;
};

struct Block {
    char* first;
    size_t size;
    std::vector<Address> addresses;
};

void* place(Reader& calls, const std::vector<Block>& blocks) {
    const int64_t block = calls.word(), offset = calls.word();
    return blocks.at(static_cast<size_t>(block)).first + offset;
}

Value read_value(Reader& calls, const std::vector<Block>& blocks) {
    Value value;
    const int64_t kind = calls.word();
    if (kind == 3) {
        value.pointer = place(calls, blocks);
        return value;
    }
    value.whole = calls.word();
    calls.word();
    if (kind == 1) std::memcpy(&value.number, &value.whole, sizeof value.number);
    return value;
}

}  // namespace

int main(int count, char** arguments) {
    if (count != 3) return 2;
#define FUNCTION(name) add(#name, name);
#include "functions.h"
    Reader calls = {std::fopen(arguments[1], "rb")};
    std::FILE* results = std::fopen(arguments[2], "wb");
    if (calls.file == nullptr || results == nullptr || om_set_instruction_set("portable") != OM_OK) return 2;
    int64_t length = 0, done = 0;
    for (; calls.bytes(&length, sizeof length); done++) {
        std::string name(static_cast<size_t>(length), ' ');
        if (!calls.bytes(&name[0], name.size())) return 2;
        std::vector<Block> blocks(static_cast<size_t>(calls.word()));
        for (Block& block : blocks) {
            block.size = static_cast<size_t>(calls.word());
            block.first = static_cast<char*>(std::aligned_alloc(64, (block.size + 64) / 64 * 64));
            if (block.first == nullptr || !calls.bytes(block.first, block.size)) return 2;
            for (int64_t left = calls.word(); left > 0; left--) {
                const size_t at = static_cast<size_t>(calls.word());
                const int64_t to = calls.word();
                block.addresses.push_back({at, to, calls.word()});
            }
        }
        for (const Block& block : blocks)
            for (const Address& address : block.addresses) {
                void* to = blocks.at(static_cast<size_t>(address.block)).first + address.offset;
                std::memcpy(block.first + address.at, &to, sizeof to);
            }
        std::vector<Value> values;
        for (int64_t left = calls.word(); left > 0; left--) values.push_back(read_value(calls, blocks));
        const int64_t status = functions.at(name)(values);
        std::fwrite(&status, sizeof status, 1, results);
        for (const Block& block : blocks) {
            if (block.addresses.empty()) std::fwrite(block.first, 1, block.size, results);
            std::free(block.first);
        }
    }
    std::printf("%lld\n", static_cast<long long>(done));
    return std::fclose(results);
}
