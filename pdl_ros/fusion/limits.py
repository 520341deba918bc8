"""Numbers that the definition and the kernels of the fusion share; here, where nothing heavy is
imported.
"""

LARGEST = 1e18
"""Head values beyond ±this count as this: sums and squares of samples stay finite."""
NO_EVIDENCE = -1e30
"""The logit of a sample that is NaN or infinite; see `sampling.usable`."""
LEAST_EVIDENCE = -1e20
"""A sampled logit must exceed this to speak for its class: below, a NO_EVIDENCE took part."""
PROBABILITY_UNIT = 2**32
"""Probabilities are summed in whole multiples of its inverse, so that their order cannot matter."""
