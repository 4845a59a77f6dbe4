"""What is told of an error that a user can cause."""

# Of torch's allocators, the driver, CUDA's libraries, oneDNN and C++, none of which has an error of
# its own on every device.
_SHORT = (
    "out of memory",
    "can't allocate memory",
    "ALLOC_FAILED",
    "could not create a primitive",
    "std::bad_alloc",
)


def sentence(error: Exception) -> str:
    """What is wrong and what to do, also where the system says only the former."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}; make room or choose another place, then try again"
    if out_of_memory(error):
        return "there is too little memory for this; ask for fewer or smaller images at once"
    return str(error)


def out_of_memory(error: Exception) -> bool:
    """Whether Python, torch or one of its libraries failed to allocate."""
    texts = any(text in str(error) for text in _SHORT)
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and texts)
