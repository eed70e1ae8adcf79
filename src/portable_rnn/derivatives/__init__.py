"""Products with Jacobian, Hessian and Gauss-Newton matrix; gradients by sequence and by step."""
