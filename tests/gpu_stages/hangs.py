import subprocess
import time


def run(settings, save):
    process = subprocess.Popen(["sleep", "600"])
    save({"half": 3, "pid": process.pid})
    time.sleep(600)
