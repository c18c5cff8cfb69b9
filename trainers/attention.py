"""Attention over the entities of variable-length observations, as ML-Agents has it.

Every entity is embedded together with what the agent knows of itself; residual self-attention of four heads lets the
entities see each other, and the mean over those that are there is the output (Baker et al., Emergent Tool Use From
Multi-Agent Autocurricula, 2020, section 4.2). A player fills up with rows of zeros, which nothing attends to.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

EMBEDDING = 128
HEADS = 4
LEAST_SQUARE = 0.01  # an entity whose numbers' squares sum to less is none
ABSENT = -1e6  # added to the scores of those that are none
NONE_PRESENT = 1e-7  # added to the number of entities: the mean of none is 0

# Normal with this deviation, without learning-rate warm-up: Huang et al., Improving Transformer Optimization Through
# Better Initialization, 2020, as ML-Agents takes it.
_DEVIATION = math.sqrt(0.125 / EMBEDDING)


class Attention(nn.Module):
    """All variable-length observations of an agent, which share one attention, to an encoding [rows, 128]."""

    def __init__(self, entity_sizes: Mapping[str, int], own_size: int) -> None:
        """entity_sizes: numbers an entity has, by the index of its observation. own_size: of all other encodings."""
        super().__init__()
        if own_size > 0:
            self.own = _linear(own_size, EMBEDDING)
        seen = EMBEDDING if own_size > 0 else 0
        self.embeddings = nn.ModuleDict({key: _linear(seen + size, EMBEDDING) for key, size in entity_sizes.items()})
        self.query = _linear(EMBEDDING, EMBEDDING)
        self.key = _linear(EMBEDDING, EMBEDDING)
        self.value = _linear(EMBEDDING, EMBEDDING)
        self.output = _linear(EMBEDDING, EMBEDDING)

    def forward(self, entities: Mapping[str, Tensor], own: Tensor | None) -> Tensor:
        """[rows, 128] of entities [rows, entities, size] by observation and of the other encodings [rows, own_size]."""
        absent = torch.cat([(one * one).sum(2) < LEAST_SQUARE for one in entities.values()], dim=1)
        own = None if own is None else nn.functional.silu(self.own(own))
        embedded = torch.cat([self._embed(key, one, own) for key, one in entities.items()], dim=1)
        embedded = _normalize(embedded)
        mixed = nn.functional.scaled_dot_product_attention(
            _by_head(self.query(embedded)),
            _by_head(self.key(embedded)),
            _by_head(self.value(embedded)),
            attn_mask=(absent * ABSENT)[:, None, None, :].expand(-1, HEADS, absent.shape[1], -1),
            scale=1.0 / math.sqrt(EMBEDDING),  # ML-Agents divides by the root of the whole size, not of a head's
        )
        outputs = _normalize(self.output(mixed.transpose(1, 2).flatten(2)) + embedded)
        present = (~absent).to(outputs.dtype).unsqueeze(2)
        return (outputs * present).sum(1) / (present.sum(1) + NONE_PRESENT)

    def _embed(self, key: str, entities: Tensor, own: Tensor | None) -> Tensor:
        """[rows, entities, 128]"""
        layer = self.embeddings[key]
        if own is None:
            return nn.functional.silu(layer(entities))
        # The layer of (own, entity), with the part of own computed once a row instead of once an entity.
        weight_of_own, weight = layer.weight.split([EMBEDDING, entities.shape[2]], dim=1)
        of_own = nn.functional.linear(own, weight_of_own).unsqueeze(1)
        return nn.functional.silu(nn.functional.linear(entities, weight, layer.bias) + of_own)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, 0.0, _DEVIATION)
    nn.init.zeros_(layer.bias)
    return layer


def _normalize(values: Tensor) -> Tensor:
    """Layer norm (Ba et al. 2016) without parameters, epsilon 1e-5."""
    return nn.functional.layer_norm(values, (EMBEDDING,))


def _by_head(values: Tensor) -> Tensor:
    """[rows, entities, 128] to [rows, heads, entities, 32]"""
    return values.unflatten(2, (HEADS, EMBEDDING // HEADS)).transpose(1, 2)
