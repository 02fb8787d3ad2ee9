"""The order of the lesson: its parts, and the sections of each."""

CONTENTS = {
    "": ["opening"],
    "Sequences": ["sequence", "order_matters", "time_dependence"],
    "The network": ["recurrence", "training", "vanishing_gradients", "gates"],
    "Memory, measured": ["hidden_memory", "cures"],
    "Measuring honestly": [
        "leakage", "bits", "free_running", "sampling_error", "simple_wins",
    ],
    "Uses": ["next_word", "characters", "temperature"],
    "Where it went": ["after"],
}  # fmt: skip
