"""A label set small enough to draw by hand: one stuff class and two thing classes."""

from pdl_ros.labels import LabelClass, LabelSet

ROAD, CAR, DOG = range(3)
LABEL_SET = LabelSet(
    'tiny',
    (
        LabelClass('road', (1, 1, 1), False),
        LabelClass('car', (2, 2, 2), True),
        LabelClass('dog', (3, 3, 3), True),
    ),
    label_divisor=10,
)
UNLABELLED = 7  # any value that no segment has
ROAD_ID, CAR_1, CAR_2, CAR_3, DOG_1 = 0, 11, 12, 13, 21
