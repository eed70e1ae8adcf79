"""Beyond the gradient: Jacobian, Hessian, Gauss-Newton, single sequences, step by step."""
