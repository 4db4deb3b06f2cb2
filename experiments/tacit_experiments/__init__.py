"""What tacit's own numbers come from: benchmark datasets and the steering study. Not part of the wheel."""
