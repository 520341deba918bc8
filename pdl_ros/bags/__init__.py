"""Recordings (rosbag2 and ROS 1), read without ROS."""
