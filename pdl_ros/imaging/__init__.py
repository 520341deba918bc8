"""What cameras put into messages, as RGB; needs no ROS."""
