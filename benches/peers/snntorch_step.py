"""Inference or training steps of a case in snnTorch. The protocol is in `common`.

The neurons of snnTorch take one time step per call. A network can run step by step, as in its
tutorials. It can also run layer by layer: a module without memory takes all steps in one call, and
only the neurons have a loop. There are settings for both. The neurons are `Leaky` with beta 1 and
reset by subtraction.
"""

import snntorch as snn
import torch
from snntorch import surrogate
from torch import nn

from common import main

SETTINGS = [
    "fp32",
    "fp32-nhwc",
    "fp32-nhwc-steps",
    "fp32-compiled",
    "fp32-nhwc-compiled",
    "bf16",
    "bf16-nhwc",
    "bf16-nhwc-steps",
    "bf16-compiled",
    "bf16-nhwc-compiled",
]


class AllSteps(nn.Module):
    """Neurons that take `[time_steps, batch, ...]` in one call."""

    def __init__(self, neurons):
        super().__init__()
        self.neurons = neurons

    def forward(self, currents):
        # The membrane potential is an argument. As a part of the module, it would make
        # `torch.compile` compile the code again for each step.
        membrane, spikes = torch.zeros_like(currents[0]), []
        for current in currents:
            spike, membrane = self.neurons(current, membrane)
            spikes.append(spike)
        return torch.stack(spikes)


class Folded(nn.Module):
    """A module without memory that takes `[time_steps, batch, ...]` as one batch."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class SnnTorch:
    def __init__(self, step_by_step):
        self.step_by_step = step_by_step

    def neurons(self, threshold):
        leaky = snn.Leaky(
            beta=1.0,
            threshold=threshold,
            spike_grad=surrogate.fast_sigmoid(),
            init_hidden=self.step_by_step,
            reset_mechanism="subtract",
        )
        return leaky if self.step_by_step else AllSteps(leaky)

    def stateless(self, module):
        return module if self.step_by_step else Folded(module)

    def is_neurons(self, module):
        return isinstance(module, AllSteps)

    def reset(self, network):
        for module in network.modules():
            if isinstance(module, snn.Leaky):
                module.reset_mem()


if __name__ == "__main__":
    main(SnnTorch, SETTINGS, __doc__.splitlines()[0])
