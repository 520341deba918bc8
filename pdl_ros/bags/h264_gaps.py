"""Find out that a packet of H.264 is missing: its decoder goes on with the pictures that it has.

H.265's decoder notices; H.264's shows wrong pictures until the next key frame. Pictures that others
are made from are numbered (`frame_num`, ITU-T H.264 section 7.4.3), so a gap shows.
"""

from __future__ import annotations

_LONG = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)  # profiles
_HEADER = 256  # bytes of a parameter set, or of a slice, that are looked at


class FrameNumbers:
    """The numbers of a stream's pictures, unit by unit."""

    def __init__(self) -> None:
        self._bits = 0
        self._gaps_allowed = True
        self._last: int | None = None

    def is_gap(self, unit: bytes) -> bool:
        """Take a NAL unit from its first byte on; tell whether pictures before it are missing.

        Of a picture it is the first slice that counts. False where the unit cannot be read.
        """
        kind, is_reference = unit[0] & 31, bool(unit[0] >> 5 & 3)
        bits = _Bits(unit[1 : 1 + _HEADER])
        try:
            if kind == 7:
                self._read_parameters(bits)
            elif kind in (1, 5) and self._bits:
                return self._follows_not(bits, kind == 5, is_reference)
        except IndexError:
            pass
        return False

    def _follows_not(self, bits: _Bits, is_key: bool, is_reference: bool) -> bool:
        for _ in range(3):  # first macroblock, slice type, picture parameter set
            bits.exp_golomb()
        number = bits.take(self._bits)
        last, expected = self._last, (number, number - 1 & (1 << self._bits) - 1)
        if is_reference or is_key:
            self._last = number
        return not (is_key or last is None or self._gaps_allowed or last in expected)

    def _read_parameters(self, bits: _Bits) -> None:
        """Read a sequence parameter set as far as needed (section 7.3.2.1.1)."""
        self._bits = 0
        profile = bits.take(24) >> 16
        bits.exp_golomb()
        if profile in _LONG:
            chroma = bits.exp_golomb()
            if chroma == 3 and bits.take(1):
                return  # planes of their own, which nobody records
            for _ in range(2):  # depths of luma and chroma
                bits.exp_golomb()
            bits.take(1)  # transform bypass
            if bits.take(1):
                for index in range(12 if chroma == 3 else 8):
                    if bits.take(1):
                        _skip_scaling_list(bits, 16 if index < 6 else 64)
        length = bits.exp_golomb() + 4
        order = bits.exp_golomb()
        if order == 0:
            bits.exp_golomb()
        elif order == 1:
            bits.take(1)
            for _ in range(2):
                bits.exp_golomb()
            for _ in range(min(bits.exp_golomb(), 255)):
                bits.exp_golomb()
        bits.exp_golomb()  # reference frames
        self._gaps_allowed = bool(bits.take(1))
        self._bits = length if length <= 16 else 0


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            code = bits.exp_golomb()
            following = (last + (code + 1) // 2 * (1 if code % 2 else -1)) % 256
        last = following or last


class _Bits:
    """The bits of a unit, less the bytes that keep start codes out. IndexError at its end."""

    def __init__(self, data: bytes) -> None:
        data = data.replace(b'\0\0\3', b'\0\0')
        self._value, self._left = int.from_bytes(data, 'big'), 8 * len(data)

    def take(self, count: int) -> int:
        """Return the next bits as a number."""
        self._left -= count
        if self._left < 0:
            raise IndexError
        return self._value >> self._left & (1 << count) - 1

    def exp_golomb(self) -> int:
        """Return the next number of the code ue(v)."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)
