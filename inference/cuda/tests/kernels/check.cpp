// Runs the tests, and counts what failed. See `gpu.h`.
#include <functional>

#include "gpu.h"

namespace {

struct Named {
    const char* name;
    std::function<void()> run;
};
std::vector<Named>& tests() {
    static std::vector<Named> all;
    return all;
}
int failures = 0;

}  // namespace

Test::Test(const char* name, std::function<void()> run) { tests().push_back({name, std::move(run)}); }

void fails(const std::string& what) {
    failures += 1;
    std::printf("  %s\n", what.c_str());
}

// Runs the tests whose names contain the first argument.
int main(int count, char** words) {
    int passed = 0, failed = 0;
    for (auto& test : tests()) {
        if (count > 1 && std::strstr(test.name, words[1]) == nullptr) continue;
        int before = failures;
        test.run();
        bool holds = failures == before;
        (holds ? passed : failed) += 1;
        std::printf("%s %s\n", holds ? "ok  " : "FAIL", test.name);
    }
    std::printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
