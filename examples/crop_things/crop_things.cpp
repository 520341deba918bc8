// Follow people: publish what the camera sees of each, cut out by its mask, on a topic of its track.
//
//   ros2 run pdl_ros panoptic_node --ros-args -r image:=/camera/image_raw -p tracking:=true
//   ros2 run crop_things crop_things --ros-args -r image:=/camera/image_raw -p classes:='[car]'
#include <algorithm>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include <pdl_ros/masks.hpp>
#include <pdl_ros/msg/panoptic_instance_array.hpp>
#include <rclcpp/rclcpp.hpp>

#include "crop.hpp"

using pdl_ros::msg::PanopticInstanceArray;
using sensor_msgs::msg::Image;

constexpr std::size_t WAITING = 30;  // images that wait for their instances: a second of a camera
constexpr int PATIENCE = 30;  // frames without a track after which it is given up

class CropThings : public rclcpp::Node
{
public:
  CropThings()
  : Node("crop_things"),
    classes_(declare_parameter<std::vector<std::string>>("classes", {"person", "pedestrian"}))
  {
    images_ = create_subscription<Image>(
      "image", rclcpp::SensorDataQoS(), [this](Image::ConstSharedPtr image) {
        waiting_.push_back(image);
        if (waiting_.size() > WAITING) {waiting_.pop_front();}
      });
    instances_ = create_subscription<PanopticInstanceArray>(
      "panoptic_node/instances", 10,
      [this](PanopticInstanceArray::ConstSharedPtr things) {follow(*things);});
  }

private:
  struct Track
  {
    rclcpp::Publisher<Image>::SharedPtr crops;
    int frames = 0, missed = 0;
  };

  void follow(const PanopticInstanceArray & things)
  {
    // The node hands on the header of its image unchanged, so the stamps of both are equal.
    const auto image = std::find_if(
      waiting_.begin(), waiting_.end(),
      [&things](const auto & candidate) {return candidate->header.stamp == things.header.stamp;});
    if (image == waiting_.end()) {
      RCLCPP_WARN_THROTTLE(get_logger(), *get_clock(), 5000, "The image of a result is missing.");
      return;
    }
    for (const auto & thing : things.instances) {
      if (std::count(classes_.begin(), classes_.end(), thing.class_name) == 0) {continue;}
      try {
        publish(thing.track_id, crop(**image, pdl_ros::decode_mask_in_box(things, thing)));
      } catch (const std::invalid_argument & error) {  // costs this crop only
        RCLCPP_ERROR_THROTTLE(get_logger(), *get_clock(), 5000, "%s", error.what());
      }
    }
    waiting_.erase(waiting_.begin(), image + 1);
    forget_lost_tracks();
  }

  void publish(std::uint32_t id, const Image & cut)
  {
    Track & track = tracks_[id];  // 0, and all on one topic, while the node does not track
    if (!track.crops) {
      RCLCPP_INFO(get_logger(), "Track %u begins.", id);
      track.crops = create_publisher<Image>("~/track_" + std::to_string(id) + "/image", 2);
    }
    track.crops->publish(cut);
    track.missed = 0;
    ++track.frames;
  }

  void forget_lost_tracks()
  {
    for (auto at = tracks_.begin(); at != tracks_.end(); ) {
      const Track & track = at->second;
      if (++at->second.missed > PATIENCE) {
        RCLCPP_INFO(get_logger(), "Track %u is lost after %d frames.", at->first, track.frames);
        at = tracks_.erase(at);
      } else {
        ++at;
      }
    }
  }

  std::vector<std::string> classes_;
  std::deque<Image::ConstSharedPtr> waiting_;
  std::map<std::uint32_t, Track> tracks_;
  rclcpp::Subscription<Image>::SharedPtr images_;
  rclcpp::Subscription<PanopticInstanceArray>::SharedPtr instances_;
};

int main(int argc, char ** argv)
{
  rclcpp::init(argc, argv);
  rclcpp::spin(std::make_shared<CropThings>());
  rclcpp::shutdown();
}
