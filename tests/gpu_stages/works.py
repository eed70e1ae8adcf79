def run(settings, save):
    return {"rehearse": settings.rehearse}
