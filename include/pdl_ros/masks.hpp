// Masks of pdl_ros/PanopticInstance as pixels. Nothing but the standard library is needed (C++14).
//
//   for (const auto & thing : things.instances) {                  // pdl_ros::msg::PanopticInstanceArray
//     const pdl_ros::Mask mask = pdl_ros::decode_mask_in_box(things, thing);
//     ... mask.pixels, mask.box ...
//   }
//
// Data that contradicts itself, whatever it is, is a std::invalid_argument with a sentence.
#ifndef PDL_ROS__MASKS_HPP_
#define PDL_ROS__MASKS_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace pdl_ros
{

/// A part of an image, in pixels; like sensor_msgs/RegionOfInterest.
struct Box
{
  std::uint32_t x = 0;
  std::uint32_t y = 0;
  std::uint32_t width = 0;
  std::uint32_t height = 0;
};

/// The pixels of a part of an image: row-major bytes without padding, 255 where the thing is, else 0.
struct Mask
{
  Box box;
  std::vector<std::uint8_t> pixels;

  /// Tell whether a pixel of the image belongs to the thing; false outside of the part.
  bool contains(std::uint32_t x, std::uint32_t y) const
  {
    if (x < box.x || y < box.y || x - box.x >= box.width || y - box.y >= box.height) {
      return false;
    }
    return pixels[static_cast<std::size_t>(y - box.y) * box.width + (x - box.x)] != 0;
  }
};

/// Most pixels of an image that are decoded: a message of a few bytes can claim any size.
constexpr std::uint64_t MAX_MASK_PIXELS = std::uint64_t{1} << 28;

namespace detail
{

constexpr std::uint8_t SET = 255;

/// Read COCO's compressed run lengths, one after the other.
class RunLengths
{
public:
  RunLengths(const std::uint8_t * data, std::size_t size)
  : next_(data), left_(size) {}

  bool done() const {return left_ == 0;}

  /// Return the next run, `most` pixels at most.
  std::uint64_t next(std::uint64_t most)
  {
    const std::int64_t number = signed_number();
    // From the fourth on, each is told as the difference from the last but one.
    const std::int64_t length = read_ > 2 ? last_but_one_ + number : number;
    if (length < 0) {
      throw std::invalid_argument("The mask is damaged: a run length is negative.");
    }
    if (static_cast<std::uint64_t>(length) > most) {
      throw std::invalid_argument("The mask is damaged: its runs are longer than the image.");
    }
    last_but_one_ = last_;
    last_ = length;
    ++read_;
    return static_cast<std::uint64_t>(length);
  }

private:
  /// Characters of 5 bits each from '0' on, low bits first; 32 says that more follow, the highest
  /// bit is the sign.
  std::int64_t signed_number()
  {
    std::uint64_t bits = 0;
    for (unsigned shift = 0; shift < 5 * LONGEST; shift += 5) {
      if (left_ == 0) {
        throw std::invalid_argument("The mask is damaged: it ends within a run length.");
      }
      const unsigned code = static_cast<unsigned>(*next_) - 48u;  // '0'
      ++next_;
      --left_;
      if (code > 63) {  // also what is below '0'
        throw std::invalid_argument("The mask is damaged: it has a byte that is no run length.");
      }
      bits |= static_cast<std::uint64_t>(code & 31) << shift;
      if ((code & 32) == 0) {
        const auto number = static_cast<std::int64_t>(bits);
        return (code & 16) ? number - (std::int64_t{1} << (shift + 5)) : number;
      }
    }
    throw std::invalid_argument("The mask is damaged: a run length does not end.");
  }

  static constexpr unsigned LONGEST = 7;  // characters: 32 bits and a sign

  const std::uint8_t * next_;
  std::size_t left_;
  std::int64_t last_ = 0;
  std::int64_t last_but_one_ = 0;
  std::uint64_t read_ = 0;
};

/// Flip the pixels at which a run of the image's columns enters and leaves a part of it.
inline void mark_run(Mask & part, std::uint32_t height, std::uint64_t start, std::uint64_t length)
{
  const Box & box = part.box;
  std::uint64_t x = start / height;
  std::uint64_t top = start % height;
  while (length > 0 && x < std::uint64_t{box.x} + box.width) {
    const std::uint64_t bottom = std::min<std::uint64_t>(top + length, height);
    if (x >= box.x) {
      const std::uint64_t first = std::max<std::uint64_t>(top, box.y) - box.y;
      const std::uint64_t end = std::max<std::uint64_t>(bottom, box.y) - box.y;
      if (first < box.height) {
        part.pixels[static_cast<std::size_t>(first * box.width + (x - box.x))] ^= SET;
      }
      if (end < box.height) {
        part.pixels[static_cast<std::size_t>(end * box.width + (x - box.x))] ^= SET;
      }
    }
    length -= bottom - top;
    top = 0;
    ++x;
  }
}

inline void decode_coco_rle(
  const std::uint8_t * data, std::size_t size, std::uint32_t height, std::uint32_t width,
  Mask & part)
{
  const std::uint64_t total = std::uint64_t{height} * width;
  RunLengths runs(data, size);
  std::uint64_t at = 0;
  for (bool set = false; !runs.done(); set = !set) {
    const std::uint64_t length = runs.next(total - at);
    if (set && length > 0) {
      mark_run(part, height, at, length);
    }
    at += length;
  }
  if (at != total) {
    throw std::invalid_argument(
            "The mask is damaged: its runs end after " + std::to_string(at) + " of " +
            std::to_string(total) + " pixels.");
  }
  // Row after row, as the pixels lie in memory: each is flipped by the one above it.
  const std::size_t row = part.box.width;
  for (std::size_t i = row; i < part.pixels.size(); ++i) {
    part.pixels[i] ^= part.pixels[i - row];
  }
}

inline void decode_bitmap(
  const std::uint8_t * data, std::size_t size, const Box & box, Mask & part)
{
  if (size != std::uint64_t{box.width} * box.height) {
    throw std::invalid_argument(
            "The mask is damaged: a bitmap of " + std::to_string(size) + " bytes for a box of " +
            std::to_string(box.width) + "x" + std::to_string(box.height) + " pixels.");
  }
  for (std::size_t y = 0; y < box.height; ++y) {
    const std::size_t row = (box.y - part.box.y + y) * part.box.width + (box.x - part.box.x);
    for (std::size_t x = 0; x < box.width; ++x) {
      part.pixels[row + x] = data[y * box.width + x] ? SET : 0;
    }
  }
}

/// Return the mask of a part of the image: of the whole, or of the box.
inline Mask decode(
  const std::string & encoding, const std::uint8_t * data, std::size_t size,
  std::uint32_t height, std::uint32_t width, const Box & box, const Box & wanted)
{
  if (encoding.empty() || encoding == "none") {
    throw std::invalid_argument(
            "The message carries no mask; set the node's parameter mask_encoding to coco_rle.");
  }
  if (encoding != "coco_rle" && encoding != "bitmap") {
    throw std::invalid_argument(
            "The mask's encoding \"" + encoding.substr(0, 40) +
            "\" is not known; it can be coco_rle or bitmap.");
  }
  const std::string image = std::to_string(width) + "x" + std::to_string(height);
  if (std::uint64_t{height} * width > MAX_MASK_PIXELS) {
    throw std::invalid_argument(
            "An image of " + image + " pixels is larger than the " +
            std::to_string(MAX_MASK_PIXELS) + " for which masks are decoded.");
  }
  if (
    box.x > width || box.width > width - box.x || box.y > height || box.height > height - box.y)
  {
    throw std::invalid_argument("The box reaches outside the image of " + image + " pixels.");
  }
  Mask part;
  part.box = wanted;
  part.pixels.resize(static_cast<std::size_t>(part.box.width) * part.box.height);
  if (encoding == "bitmap") {
    decode_bitmap(data, size, box, part);
  } else {
    decode_coco_rle(data, size, height, width, part);
  }
  return part;
}

template<typename Instance>
Box box_of(const Instance & instance)
{
  return Box{
    instance.box.x_offset, instance.box.y_offset, instance.box.width, instance.box.height};
}

}  // namespace detail

/// Return the mask of the whole image of height x width pixels.
///
/// `encoding`, `data` and `box` are those of a PanopticInstance, height and width those of its array.
/// Throws std::invalid_argument when the message has no mask, or one that contradicts itself.
inline Mask decode_mask(
  const std::string & encoding, const std::uint8_t * data, std::size_t size,
  std::uint32_t height, std::uint32_t width, const Box & box)
{
  return detail::decode(encoding, data, size, height, width, box, Box{0, 0, width, height});
}

/// Return the mask of the box alone: what lies around the thing costs neither memory nor time.
inline Mask decode_mask_in_box(
  const std::string & encoding, const std::uint8_t * data, std::size_t size,
  std::uint32_t height, std::uint32_t width, const Box & box)
{
  return detail::decode(encoding, data, size, height, width, box, box);
}

/// The same of a pdl_ros::msg::PanopticInstance in its PanopticInstanceArray.
template<typename Array, typename Instance>
Mask decode_mask(const Array & array, const Instance & instance)
{
  return decode_mask(
    instance.mask_encoding, instance.mask_data.data(), instance.mask_data.size(), array.height,
    array.width, detail::box_of(instance));
}

/// The same of the box alone.
template<typename Array, typename Instance>
Mask decode_mask_in_box(const Array & array, const Instance & instance)
{
  return decode_mask_in_box(
    instance.mask_encoding, instance.mask_data.data(), instance.mask_data.size(), array.height,
    array.width, detail::box_of(instance));
}

}  // namespace pdl_ros

#endif  // PDL_ROS__MASKS_HPP_
