"""How a time loop is run: by Python, step by step, or by XLA."""
