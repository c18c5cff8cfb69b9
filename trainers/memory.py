"""The memory of a network: an LSTM (Hochreiter and Schmidhuber 1997) that steps through sequences of rows."""

import torch
from torch import Tensor, nn


class Memory(nn.LSTM):
    """Encodings to encodings of half the memory's size, with ML-Agents' initialisation.

    A row of memory is the hidden state, then the cell's.
    """

    def __init__(self, inputs: int, memory_size: int) -> None:
        super().__init__(inputs, memory_size // 2, batch_first=True)
        for weight in (self.weight_ih_l0, self.weight_hh_l0):
            for gate in weight.chunk(4):
                nn.init.xavier_uniform_(gate)
        for bias in (self.bias_ih_l0, self.bias_hh_l0):
            nn.init.zeros_(bias)
            nn.init.ones_(bias.chunk(4)[1])  # the forget gate's: a fresh network remembers

    def step(self, encodings: Tensor, memories: Tensor) -> tuple[Tensor, Tensor]:
        """One step of every row: outputs [rows, hidden] and new memories [rows, memory_size] of `encodings`
        [rows, inputs]."""
        state = tuple(memories.chunk(2, dim=1))
        weights = (self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0)
        hidden, cell = torch.lstm_cell(encodings, state, *weights)
        return hidden, torch.cat([hidden, cell], dim=1)

    def through(self, encodings: Tensor, memories: Tensor, lengths: Tensor) -> Tensor:
        """Outputs [rows, hidden] of sequences one after the other.

        encodings: [rows, inputs]. memories: [rows, memory_size], of which each sequence takes that of its first row.
        lengths: int64 [sequences], summing to rows.
        """
        lengths = lengths.to(encodings.device)
        starts = lengths.cumsum(0) - lengths
        hidden, cell = memories[starts].chunk(2, dim=1)
        state = (hidden.unsqueeze(0).contiguous(), cell.unsqueeze(0).contiguous())
        longest = int(lengths.max())
        if len(lengths) * longest == len(encodings):  # all are as long
            return self(encodings.unflatten(0, (len(lengths), longest)), state)[0].flatten(0, 1)
        there = torch.arange(longest, device=lengths.device) < lengths.unsqueeze(1)
        places = there.flatten().nonzero().squeeze(1)  # of the rows among those that are padded
        padded = encodings.new_zeros(there.numel(), encodings.shape[1]).index_copy(0, places, encodings)
        return self(padded.unflatten(0, there.shape), state)[0].flatten(0, 1)[places]
