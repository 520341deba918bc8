"""Results as ROS messages, whoever's classes they are: those of ROS, or those of the bags."""
