"""The ROS half of the doctor. `probe.py` and `round_trip.py` import rclpy: they run in children."""
