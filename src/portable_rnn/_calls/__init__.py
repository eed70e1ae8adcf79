"""From public functions to the engine: checks against a model, layouts, valid steps."""
