"""Ask about clips: a student, or any model behind an address, about recordings, arrays or clips."""
