"""Steering: what a policy is, without any live model: modulators, their scales, and what they fold into."""
