"""Types of messages that hold video, as their packages define them; few systems have these."""

VIDEO_DEFINITIONS = {
    'foxglove_msgs/msg/CompressedVideo': """
builtin_interfaces/Time timestamp
string frame_id
uint8[] data
string format
""",
    'ffmpeg_image_transport_msgs/msg/FFMPEGPacket': """
std_msgs/Header header
int32 width
int32 height
string encoding
uint64 pts
uint8 flags
bool is_bigendian
uint8[] data
""",
}
"""By the name that ROS 2 has for them."""

OTHER_NAMES = dict.fromkeys(
    ('foxglove.CompressedVideo', 'foxglove::CompressedVideo'), 'foxglove_msgs/msg/CompressedVideo'
)
"""What other tools call these types, of the same bytes where their encoding is `cdr`."""
