"""Ground floor: what every room uses and what knows nothing of detection networks or data formats."""
