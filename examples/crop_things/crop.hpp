// Cut a thing out of its camera image.
#pragma once

#include <cstring>
#include <map>
#include <stdexcept>
#include <string>

#include <pdl_ros/masks.hpp>
#include <sensor_msgs/msg/image.hpp>

/// Return what an image shows inside a mask, as large as the mask's box; black around the thing.
inline sensor_msgs::msg::Image crop(
  const sensor_msgs::msg::Image & image, const pdl_ros::Mask & mask)
{
  static const std::map<std::string, std::size_t> BYTES = {
    {"mono8", 1}, {"rgb8", 3}, {"bgr8", 3}, {"rgba8", 4}, {"bgra8", 4}};
  const auto found = BYTES.find(image.encoding);
  if (found == BYTES.end()) {
    throw std::invalid_argument("Images of encoding " + image.encoding + " are not cropped here.");
  }
  const std::size_t pixel = found->second;
  const pdl_ros::Box & box = mask.box;
  if (
    std::size_t{box.x} + box.width > image.width ||
    std::size_t{box.y} + box.height > image.height)
  {
    throw std::invalid_argument("The mask is of a larger image; is output_size of the node input?");
  }
  if (
    image.step < image.width * pixel ||
    image.data.size() < std::size_t{image.step} * image.height)
  {
    throw std::invalid_argument("The image has fewer bytes than it claims.");
  }
  sensor_msgs::msg::Image cut;
  cut.header = image.header;
  cut.encoding = image.encoding;
  cut.height = box.height;
  cut.width = box.width;
  cut.step = static_cast<std::uint32_t>(box.width * pixel);
  cut.data.resize(std::size_t{cut.height} * cut.step);
  for (std::size_t y = 0; y < box.height; ++y) {
    for (std::size_t x = 0; x < box.width; ++x) {
      if (mask.pixels[y * box.width + x]) {
        const std::size_t from = (box.y + y) * image.step + (box.x + x) * pixel;
        std::memcpy(&cut.data[y * cut.step + x * pixel], &image.data[from], pixel);
      }
    }
  }
  return cut;
}
