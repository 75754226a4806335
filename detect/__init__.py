"""Fourth floor: from pictures to Detections, and the demo that shows them."""
