"""The ROS half: the only room that imports rclpy and messages."""
