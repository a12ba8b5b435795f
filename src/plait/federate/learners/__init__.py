"""Models and data of clients: a small one in plain NumPy, and LoRA adapters of a language model."""
