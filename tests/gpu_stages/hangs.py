import time


def run(settings, save):
    save({"half": 3})
    time.sleep(600)
