"""What is told of an error that a user can cause."""


def sentence(error: ValueError | OSError) -> str:
    """What is wrong and what to do, also where the system says only the former."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}; make room or choose another place, then try again"
    return str(error)
