"""Alignment heads for any checkpoint, which itself stays frozen.

features   what the checkpoint says of each video and query, computed once and stored
train      features -> a trained and calibrated head
"""
