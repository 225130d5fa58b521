"""A student behind an OpenAI-compatible endpoint: text, pictures and skeletons in, words or ranked labels out."""
