"""Train the network on labelled images. Needs the extra `train`."""
