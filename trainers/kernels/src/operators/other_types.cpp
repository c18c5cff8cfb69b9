// The operators' kernels for double, int32_t and int64_t, for any processor.
#define OM_NAMESPACE openmined_other_types

#include "rows.h"

namespace openmined {

const OperatorKernels operators_double = {
    OM_NAMESPACE::UNARY<double>,
    OM_NAMESPACE::BINARY<double>,
    OM_NAMESPACE::RELATION<double>,
    nullptr,
    nullptr,
    OM_NAMESPACE::reduce<double>,
    OM_NAMESPACE::reduction_gradient<double>,
    OM_NAMESPACE::softmax<double>,
    OM_NAMESPACE::softmax_gradient<double>,
    OM_NAMESPACE::row_loss<double>,
    OM_NAMESPACE::row_loss_gradient<double>,
    OM_NAMESPACE::step<double>,
};

template <typename T>
constexpr OperatorKernels WHOLE_NUMBERS = {
    nullptr, nullptr, OM_NAMESPACE::RELATION<T>, OM_NAMESPACE::INTEGER_UNARY<T>, OM_NAMESPACE::INTEGER_BINARY<T>,
    nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr,
};

const OperatorKernels operators_int32 = WHOLE_NUMBERS<int32_t>;
const OperatorKernels operators_int64 = WHOLE_NUMBERS<int64_t>;

}  // namespace openmined
