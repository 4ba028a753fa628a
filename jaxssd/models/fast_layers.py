"""Which layers of a network are computed in another form: with the same variables and the same result, but faster."""

from typing import Literal

FastLayer = Literal["norm", "pool", "stem"]
"""`norm`: BatchNorm applied as one multiply-add in the dtype of the computation (`MultiplyAddBatchNorm`).

`pool`: max-pooling whose gradient gathers (`max_pool_3x3`), and the ReLU after it, on a quarter of the map.

`stem`: the first convolution on 2x2 blocks of pixels (`space_to_depth_conv`).

All three are equal to the plain layers up to rounding. In bfloat16 `norm` rounds more often than the plain form, which
computes in float32 until its result; that is what it saves.
"""
