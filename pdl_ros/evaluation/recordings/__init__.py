"""Score what a recording says of its frames: `pdl_ros bag score`."""
