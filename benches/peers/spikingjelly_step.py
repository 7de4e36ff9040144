"""Inference or training steps of a case in SpikingJelly; the protocol is in `common`.

Its multi-step mode: every layer takes all time steps at once. The neurons are integrate-and-fire
with reset by subtraction, which is the same in both libraries (with leak they are not: its reset is
leaked). Its triangle as surrogate is 1 high where ours is 0.3; it costs the same.
"""

from spikingjelly.activation_based import functional, layer, neuron, surrogate

from common import main

SETTINGS = [
    "fp32",
    "fp32-nhwc",
    "fp32-compiled",
    "fp32-nhwc-compiled",
    "bf16",
    "bf16-nhwc",
    "bf16-compiled",
    "bf16-nhwc-compiled",
]


class SpikingJelly:
    def __init__(self, step_by_step):
        self.step_by_step = step_by_step

    def neurons(self, threshold):
        return neuron.IFNode(
            v_threshold=threshold,
            v_reset=None,
            surrogate_function=surrogate.PiecewiseQuadratic(alpha=1.0),
            detach_reset=True,
            step_mode="m",
        )

    def stateless(self, module):
        return layer.SeqToANNContainer(module)

    def is_neurons(self, module):
        return isinstance(module, neuron.IFNode)

    def reset(self, network):
        functional.reset_net(network)


if __name__ == "__main__":
    main(SpikingJelly, SETTINGS, __doc__.splitlines()[0])
