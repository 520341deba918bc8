"""How strides become dilations when an encoder must not shrink its features any further."""

from __future__ import annotations


def atrous_plan(
    strides: tuple[int, ...], output_stride: int, first_stride: int
) -> list[tuple[int, int, int]]:
    """Plan (stride, dilation of the first block, dilation of the others) for each stage.

    `strides` are the stages' own strides and `first_stride` the stride reached before them. A stage
    that would exceed `output_stride` keeps stride 1 and doubles the dilation instead (DeepLab,
    section 3.1); its first block still sees features of the previous dilation.
    """
    reached, dilation, plan = first_stride, 1, []
    for stride in strides:
        before = dilation
        if reached * stride > output_stride:
            dilation *= stride
            stride = 1
        else:
            reached *= stride
        plan.append((stride, before, dilation))
    return plan
