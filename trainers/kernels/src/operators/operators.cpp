// The operators' kernels for float32, compiled once for each instruction set; double and whole numbers once.
#if defined(OPENMINED_AVX512)
#define OM_NAMESPACE openmined_avx512
#define OM_OPERATORS operators_avx512
#elif defined(OPENMINED_AVX2)
#define OM_NAMESPACE openmined_avx2
#define OM_OPERATORS operators_avx2
#else
#define OM_NAMESPACE openmined_portable
#define OM_OPERATORS operators_portable
#endif

#include "rows.h"

namespace openmined {

const OperatorKernels OM_OPERATORS = {
    OM_NAMESPACE::UNARY<float>,
    OM_NAMESPACE::BINARY<float>,
    OM_NAMESPACE::RELATION<float>,
    nullptr,
    nullptr,
    OM_NAMESPACE::reduce<float>,
    OM_NAMESPACE::reduction_gradient<float>,
    OM_NAMESPACE::softmax<float>,
    OM_NAMESPACE::softmax_gradient<float>,
    OM_NAMESPACE::row_loss<float>,
    OM_NAMESPACE::row_loss_gradient<float>,
    OM_NAMESPACE::step<float>,
};

}  // namespace openmined
