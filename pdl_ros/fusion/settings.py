"""The thresholds of the fusion, checked where they are made."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pdl_ros.errors import PdlError

WITHOUT_CENTER = ('void', 'components')


@dataclass(frozen=True)
class FusionSettings:
    """Published defaults for Cityscapes. Lengths and areas are pixels of the network input."""

    center_threshold: float = 0.1
    """Heatmap value that a centre must exceed."""
    nms_kernel: int = 7
    """Side of the window in which a centre must be the maximum; odd."""
    top_k: int = 200
    """Centres kept at most (published rule: with this many peaks or more, only those above the
    k-th).
    """
    stuff_area: int = 2048
    """A stuff class covering fewer pixels becomes void."""
    without_center: str = 'void'
    """What the things of a frame become in which no centre was found: `void` (published rule), or
    instances, one for each of their connected `components` of `stuff_area` pixels or more, with an
    objectness of 0."""
    outvoted_area: int = 0
    """An instance's pixels of its second thing class split off where they are so many or more, and
    three tenths of it: a car behind a bicycle that took it is a car of its own, with the objectness
    of the bicycle's centre. 0: never, they are what most of it is (published rule)."""
    objectness: str = 'center'
    """Where the heatmap is read for an instance's score: at its detected `center` (paper, section
    3.5), or at its `mask_centroid` (detectron2 and the authors' release)."""
    score: str = 'both'
    """What an instance's score is: objectness × class score (`both`; paper, section 3.5), only the
    class score (`semantic`), or only the objectness (`instance`). The names are those of the
    authors' release."""
    score_threshold: float = 0.0
    """An instance with a lower score is no thing: void. What takes the place of a centre
    (`without_center`) is kept. 0: all are kept (published rule)."""
    doubtful_area: int = 0
    """Only instances of fewer pixels are asked for their score; 0: all are. Slivers are wrong more
    often than something large that is only half seen."""
    align_corners: bool = False
    """Bilinear convention of the network's variant."""
    rescale: bool = True
    """Convert offsets and the lengths above when the output size is not the network's. False leaves
    them as they are, as detectron2 does."""

    def __post_init__(self) -> None:
        if self.nms_kernel < 1 or self.nms_kernel % 2 == 0:
            raise PdlError(f'nms_kernel is {self.nms_kernel}; it must be odd and positive.')
        if not self.center_threshold >= 0:
            raise PdlError(f'center_threshold is {self.center_threshold}; it must not be negative.')
        if self.top_k < 1:
            raise PdlError(f'top_k is {self.top_k}; it must be at least 1.')
        if self.stuff_area < 0:
            raise PdlError(f'stuff_area is {self.stuff_area}; it must not be negative.')
        if self.objectness not in ('center', 'mask_centroid'):
            raise PdlError(f'objectness is {self.objectness!r}; it can be center or mask_centroid.')
        if self.without_center not in WITHOUT_CENTER:
            raise PdlError(
                f'without_center is {self.without_center!r}; it can be '
                f'{" or ".join(WITHOUT_CENTER)}.'
            )
        if self.outvoted_area < 0:
            raise PdlError(f'outvoted_area is {self.outvoted_area}; it must not be negative.')
        if self.score not in ('both', 'semantic', 'instance'):
            raise PdlError(f'score is {self.score!r}; it can be both, semantic or instance.')
        if not self.score_threshold >= 0:
            raise PdlError(f'score_threshold is {self.score_threshold}; it must not be negative.')
        if self.doubtful_area < 0:
            raise PdlError(f'doubtful_area is {self.doubtful_area}; it must not be negative.')

    def scaled(self, scale_y: float, scale_x: float) -> FusionSettings:
        """Return the settings in output pixels, which are 1 / scale pixels of the network input.

        The window is never smaller than in the network's input: centres are not sought on a coarser
        grid (`sampling.Grids`).
        """
        if not self.rescale:
            return self
        finer = (max(scale_y, 1.0) * max(scale_x, 1.0)) ** 0.5

        def in_output(area: int) -> int:  # what is switched on stays on
            return max(round(area * scale_y * scale_x), 1) if area else 0

        return replace(
            self,
            nms_kernel=2 * round((self.nms_kernel // 2) * finer) + 1,
            stuff_area=round(self.stuff_area * scale_y * scale_x),
            outvoted_area=in_output(self.outvoted_area),
            doubtful_area=in_output(self.doubtful_area),
        )
