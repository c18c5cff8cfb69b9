// From the description of a network to the handle.
#include <new>

#include "internal.h"

namespace openmined {
namespace {

constexpr int64_t GREATEST = int64_t{1} << 31;  // of any size: products of two still fit

// Lays out layers and heads in the order of the offsets.
class Layout {
public:
    Layout(om_network& handle, const om_network_description& description)
        : handle_(handle), description_(description) {}

    int32_t build() {
        const om_network_description& d = description_;
        Network& network = handle_.network;
        int64_t inputs = 0;
        for (int64_t size : handle_.observation_sizes) inputs += size;
        network.observation_count = d.observation_count;
        network.inputs = inputs;
        network.continuous = d.continuous;
        network.branch_count = d.branch_count;
        network.signals = d.signals;
        network.shared = d.shared_critic != 0;
        for (int64_t size : handle_.branch_sizes) network.logits += size;
        const int64_t width = d.layer_widths[d.layer_count - 1];
        layers();
        if (d.continuous > 0) {
            dense(width, d.continuous);
            network.log_sigma = tensor(d.continuous);
        }
        for (int64_t size : handle_.branch_sizes) dense(width, size);
        const int64_t actor_heads = (d.continuous > 0 ? 1 : 0) + d.branch_count;
        if (!network.shared) layers();
        for (int64_t signal = 0; signal < d.signals; signal++) dense(width, 1);
        if (next_ != d.offset_count) return OM_BAD_SIZE;
        if (!inside_) return OM_BAD_OFFSET;

        const Dense* first = handle_.dense.data();
        const int64_t outputs = d.continuous + network.logits;
        network.actor = {d.layer_count, actor_heads, outputs, first, first + d.layer_count};
        if (network.shared) {
            network.actor.head_count += d.signals;
            network.actor.outputs += d.signals;
        } else {
            const Dense* critic = first + d.layer_count + actor_heads;
            network.critic = {d.layer_count, d.signals, d.signals, critic, critic + d.layer_count};
        }
        network.observation_sizes = handle_.observation_sizes.data();
        network.branch_sizes = handle_.branch_sizes.data();
        handle_.parameter_count = d.parameter_count;
        return OM_OK;
    }

private:
    int64_t tensor(int64_t size) {
        const int64_t offset = next_ < description_.offset_count ? description_.offsets[next_] : 0;
        next_++;
        if (offset < 0 || offset > description_.parameter_count - size) inside_ = false;
        return offset;
    }
    void dense(int64_t inputs, int64_t outputs) {
        const int64_t weight = tensor(inputs * outputs);
        handle_.dense.push_back({inputs, outputs, weight, tensor(outputs)});
    }
    void layers() {
        int64_t inputs = handle_.network.inputs;
        for (int64_t index = 0; index < description_.layer_count; index++) {
            dense(inputs, description_.layer_widths[index]);
            inputs = description_.layer_widths[index];
        }
    }

    om_network& handle_;
    const om_network_description& description_;
    int64_t next_ = 0;
    bool inside_ = true;
};

bool all_between(const int64_t* sizes, int64_t count) {
    int64_t total = 0;
    for (int64_t index = 0; index < count; index++) {
        if (sizes[index] < 1 || sizes[index] >= GREATEST) return false;
        total += sizes[index];
    }
    return total < GREATEST;
}

int32_t check(const om_network_description& d) {
    if (d.observation_sizes == nullptr || d.layer_widths == nullptr || d.offsets == nullptr) return OM_NULL_POINTER;
    if (d.branch_count > 0 && d.branch_sizes == nullptr) return OM_NULL_POINTER;
    if (d.observation_count < 1 || d.layer_count < 1 || d.layer_count > MOST_LAYERS || d.continuous < 0 ||
        d.branch_count < 0 || d.signals < 1 || d.parameter_count < 1 || d.offset_count < 1)
        return OM_BAD_SIZE;
    if (d.observation_count >= GREATEST || d.branch_count >= GREATEST || d.continuous >= GREATEST ||
        d.signals >= GREATEST || d.continuous + d.branch_count == 0)
        return OM_BAD_SIZE;
    if (!all_between(d.observation_sizes, d.observation_count) || !all_between(d.layer_widths, d.layer_count) ||
        !all_between(d.branch_sizes, d.branch_count))
        return OM_BAD_SIZE;
    return OM_OK;
}

}  // namespace
}  // namespace openmined

int32_t om_network_create(const om_network_description* description, om_network** network) {
    if (description == nullptr || network == nullptr) return OM_NULL_POINTER;
    int32_t status = openmined::check(*description);
    if (status != OM_OK) return status;
    om_network* handle = nullptr;
    try {
        handle = new om_network;
        handle->observation_sizes.assign(description->observation_sizes,
                                         description->observation_sizes + description->observation_count);
        if (description->branch_count > 0)
            handle->branch_sizes.assign(description->branch_sizes,
                                        description->branch_sizes + description->branch_count);
        status = openmined::Layout(*handle, *description).build();
    } catch (const std::bad_alloc&) {
        status = OM_NO_MEMORY;
    }
    if (status == OM_OK)
        *network = handle;
    else
        delete handle;
    return status;
}

void om_network_destroy(om_network* network) { delete network; }
