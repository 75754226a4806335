"""Fifth floor: from a checkpoint to one graph, image in, boxes out."""
