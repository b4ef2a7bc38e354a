"""The container engine of this machine: what it is, installing it, and the base image."""
