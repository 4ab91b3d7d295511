//! What a daemon hands to start, and what it understands as an answer, in every generation.
