import os


def run(settings, save):
    save({"half": 2})
    os._exit(11)
