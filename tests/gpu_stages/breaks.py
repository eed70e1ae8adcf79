def run(settings, save):
    save({"half": 1})
    raise RuntimeError("a wrong kernel")
