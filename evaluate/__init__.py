"""Fourth floor: how good a detector is, as average precision by the rules of Pascal VOC."""
