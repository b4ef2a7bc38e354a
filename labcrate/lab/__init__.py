"""The lab on the engine: what Compose makes of it, its images, its containers, its JupyterLab."""
