// Everything that is compiled once for each instruction set; which one, OPENMINED_AVX512 or OPENMINED_AVX2 says.
#if defined(OPENMINED_AVX512)
#define OM_NAMESPACE openmined_avx512
#define OM_KERNELS kernels_avx512
#define OM_PRODUCTS products_avx512
#define OM_NAME "avx512"
#elif defined(OPENMINED_AVX2)
#define OM_NAMESPACE openmined_avx2
#define OM_KERNELS kernels_avx2
#define OM_PRODUCTS products_avx2
#define OM_NAME "avx2"
#else
#define OM_NAMESPACE openmined_portable
#define OM_KERNELS kernels_portable
#define OM_PRODUCTS products_portable
#define OM_NAME "portable"
#endif

#include "act.h"
#include "operators/product.h"
#include "train.h"

namespace OM_NAMESPACE {

static int64_t multiply_workspace(int64_t rows, int64_t inner, int64_t columns) {
    return inner * round_up(columns, PANEL) + rows * PANEL;
}

static void multiply(int64_t rows, int64_t inner, int64_t columns, const float* left, const float* right, float* out,
                     float* workspace) {
    const Left whole = {left, inner, 1, inner, 0};
    float* edge = workspace + inner * round_up(columns, PANEL);
    const auto nothing = [](int64_t, int) {};
    for (int64_t first = 0; first < columns; first += PANEL) {
        float* panel = workspace + first * inner;
        const int64_t count = columns - first < PANEL ? columns - first : PANEL;
        for (int64_t k = 0; k < inner; k++)
            for (int64_t column = 0; column < count; column++)
                panel[k * PANEL + column] = right[k * columns + first + column];
        if (count == PANEL) {
            multiply_panel<0>(rows, inner, PANEL, whole, panel, Start::zero, nullptr, out + first, columns, nothing);
            continue;
        }
        multiply_panel<0>(rows, inner, PANEL, whole, panel, Start::zero, nullptr, edge, PANEL, nothing);
        for (int64_t row = 0; row < rows; row++)
            for (int64_t column = 0; column < count; column++)
                out[row * columns + first + column] = edge[row * PANEL + column];
    }
}

}  // namespace OM_NAMESPACE

namespace openmined {

const Kernels OM_KERNELS = {
    OM_NAME,
    OM_NAMESPACE::LANES,
    OM_NAMESPACE::train_workspace,
    OM_NAMESPACE::train,
    OM_NAMESPACE::act_workspace,
    OM_NAMESPACE::act,
    OM_NAMESPACE::multiply_workspace,
    OM_NAMESPACE::multiply,
};

const ProductKernels OM_PRODUCTS = {OM_NAMESPACE::product_workspace, OM_NAMESPACE::product};

}  // namespace openmined
