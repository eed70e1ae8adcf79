"""Between a public function and the engine: checks that know a model, layouts, valid steps."""
