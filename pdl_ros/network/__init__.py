"""The Panoptic-DeepLab network: image tensor -> HeadOutputs. Pure torch."""
